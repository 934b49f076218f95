"""Everything that knows Ray: it carries out what `core` decides and `service` orders, on a cluster.

`client` reaches a run's coordinator (`coordinator_actor`, `detached_coordinator`), whose `fleet` gives work to shard actors
(`shard_actor_pool`, `shard_actor`, `data_parallel`) in the room that `nodes`, `placement` and `placement_group` find;
`audit`, `tuning` and `jobs` use Ray for single tasks, searches and submitted commands, `cluster` connects to it, `metrics`
publishes through it, and `ray_internals` has its private parts.
"""
