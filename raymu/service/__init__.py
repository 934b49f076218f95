"""The operations on a run, in ordinary classes without Ray.

`coordinator` changes a run, `shard` trains and repairs one shard, and `requests` accepts or refuses revocations; `planning`,
`tuning`, `audit` and `verify` each answer one kind of question about it.
"""
