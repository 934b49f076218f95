"""All code that uses Ray: it carries out on a cluster what `core` decides and `service` orders.

`client` reaches a run's coordinator (`coordinator_actor`, `detached_coordinator`), whose `fleet` gives work to shard actors
(`shard_actor_pool`, `shard_actor`, `data_parallel`). `shard_resources` and `nodes` count the actors that fit, and
`placement_group` reserves room for them. `audit`, `tuning` and `jobs` use Ray for single tasks, searches and submitted
commands, `cluster` connects to Ray, `metrics` publishes through it, and `ray_internals` has its private parts.
"""
