"""What an audit trains for one shard: models that saw its forgotten samples, and models that never did.

`samples` has the samples and says which model is trained on which, `shadow_models` trains them, `relearn_time` measures how
soon a model learns its forget set again.
"""
