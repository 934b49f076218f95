"""Training and repairing one shard: what a worker does, and the fleet that runs workers.

A coordinator gives work from `messages` to a fleet (`fleet`). The fleet gives it to a `worker`, which trains stages through
`stages`, patches through `patch`, and reads and writes the shard's files through `files`. Progress and the report go back
the same way. `raymu.runtime` has the fleet whose workers are Ray actors.
"""
