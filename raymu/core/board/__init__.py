"""The state machine that decides everything a coordinator does: `board` takes events and returns commands.

`shard_work` holds one record per shard, `publication` what the next generation and the next purge contain, and `serving`
which state of a shard is served.
"""
