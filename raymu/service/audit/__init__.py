"""The audit of revocation requests: the served models beside models that never saw the samples, and one that did.

`audit` runs it and `report` has its records. `forget_set` and `samples` collect the samples, `shard_models` trains and scores
the models of a shard, and `statistics` summarizes requests, shards and the ensemble.
"""
