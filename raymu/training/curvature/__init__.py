"""The curvature of a shard's loss at its present weights, and the direction that takes samples out along it.

`direction` is the entrance: it multiplies the forget set's gradient by an inverse of the damped Gauss-Newton matrix of
retained samples. `gauss_newton` has the products with that matrix, `kfac` a matrix near it that is easy to invert, and
`conjugate_gradients` the solution of a linear system by products alone.
"""
