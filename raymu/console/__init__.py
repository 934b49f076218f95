"""Output for people on a terminal: progress on standard error, results on standard output.

`screen` prints, each `..._tables` module lays out one kind of result, and `progress` shows the state of the shards.
"""
