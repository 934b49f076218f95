"""The curvature of a shard's loss at its present weights, and the direction that takes samples out along it.

`direction` is the entrance: it multiplies the forget set's gradient by an inverse of the damped Gauss-Newton matrix of
retained samples. `gauss_newton` has the products with that matrix, `kfac` a matrix near it that is easy to invert, and
`conjugate_gradients` the solution of a linear system by products alone.

The library curvlinops computes the same (`experiments/curvature_agreement.py`), and is not used. Its Kronecker factors take
three losses of PyTorch by their classes, so neither class weights nor a loss of the user's. Its products need forward mode,
which recurrent layers and fused attention lack. It keeps no linearised model from one product to the next, and brings SciPy
and six other packages.
"""
