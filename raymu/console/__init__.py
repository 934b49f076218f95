"""What a person sees on a terminal: progress on standard error, results on standard output.

`screen` prints, the `..._tables` modules lay results out by what they show, and `progress` shows how far the shards are.
"""
