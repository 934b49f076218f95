"""The cost of expected traffic, before a run is trained.

`traffic` and `trace` describe the requests and their times, `simulator` and `simulated_shard` replay a trace on the board,
`expected_cost` and `shard_chain` compute the mean cost in closed form, and `recommendation` chooses a layout.
"""
