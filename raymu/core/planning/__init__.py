"""What traffic would cost a run before it is trained.

`traffic` and `trace` say what is requested and when, `simulator` and `simulated_shard` replay a trace on the board,
`expected_cost` and `shard_chain` compute the mean cost in closed form, and `recommendation` chooses a layout.
"""
