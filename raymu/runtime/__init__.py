"""All code that uses Ray: it carries out on a cluster what `core` decides and `service` orders.

`client` reaches a run's coordinator (`coordinator_actor`, `detached_coordinator`), whose `fleet` gives work to shard actors
(`shard_actor_pool`, `shard_actor`, `data_parallel`). `shard_resources` and `nodes` count the actors that fit, and
`placement_group` reserves room for them. `audit`, `tuning` and `jobs` use Ray for single tasks, searches and submitted
commands, `cluster` connects to Ray, `metrics` publishes through it, and `ray_internals` has its private parts.
"""

import logging
import warnings

# In a notebook without widgets, which raymu does not need, Ray asks for them when it is imported.
warnings.filterwarnings("ignore", message="IProgress not found")
logging.getLogger("ray.widgets").setLevel(logging.WARNING)
