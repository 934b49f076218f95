"""Models that an audit trains for one shard: some saw its forgotten samples, some never did.

`samples` has the samples and says which model is trained on which, `shadow_models` trains them, `relearn_time` measures how
soon a model learns its forget set again.
"""
