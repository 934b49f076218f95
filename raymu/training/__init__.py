"""Training one shard with PyTorch, and patching it: one process, or several ranks that share each batch.

`stages` is the entrance: it trains the stages of a shard by `trainer`, which has the training loop. `spec` says what that
depends on. `models`, `losses`, `optimizers` and `learning_rate` are the parts that the configuration chooses by name or by
`factories`; `checks` tries them before a run is created. `batches` orders samples, `normalizer` scales them, and `classifier`
predicts. `ranks` and `data_parallel_gradients` split batches. `contributions` computes updates or records them,
and `patch` subtracts them; `curvature` is what the default ones are computed with.
`checkpoint_format` is the file format, `determinism` pins the bits. `audit` trains the models that a run is audited by.
"""
