"""The state machine that decides everything a coordinator does: `board` takes events and returns commands.

`shard_work` holds one record per shard, `accepted_requests` what each request waits for, and `publication` what the next
generation and the next purge contain. `repair_planner` decides on repairs, and `serving` which state of a shard is served.
"""
