"""Conjugate gradients: the solution of a linear system by products with its matrix alone."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from raymu.errors import PatchFailed

Operator: TypeAlias = Callable[[Tensor], Tensor]
"""Multiplies a vector by a symmetric matrix: (parameters,) -> (parameters,)."""
_SMALLEST_RESIDUAL = 1e-5
"""Of the right-hand side's norm: near what float32 can resolve."""


def conjugate_gradients(product: Operator, right: Tensor, *, precondition: Operator, iterations: int) -> Tensor:
    """Solve a linear system by preconditioned conjugate gradients, from zero (Nocedal and Wright, 2006, algorithm 5.3).

    They end early if the residual is small, or where the matrix is not positive definite, as a loss that is not convex in the
    model's outputs can make it. The best solution so far is returned then.

    Args:
        product: Multiplies by the matrix.
        right: Right-hand side, (parameters,).
        precondition: Multiplies by a positive definite matrix near the inverse.
        iterations: Most iterations. Each takes one product.

    Returns:
        (parameters,).

    Raises:
        PatchFailed: The curvature along the first direction is negative, or not finite.
    """
    solution = torch.zeros_like(right)
    residual = right.clone()
    goal = _SMALLEST_RESIDUAL * float(right.norm())
    conjugate, overlap = torch.zeros_like(right), 0.0
    for iteration in range(iterations):
        if float(residual.norm()) <= goal:
            break
        preconditioned = precondition(residual)
        overlap, before = float(residual @ preconditioned), overlap
        conjugate = torch.add(preconditioned, conjugate, alpha=overlap / before if iteration else 0.0)
        image = product(conjugate)
        curvature = float(conjugate @ image)
        if not curvature > 0.0:  # also if it is NaN
            if not iteration:
                raise PatchFailed(
                    "the loss has no positive curvature along the forget set's gradient; "
                    "use a larger unlearning.curvature.damping"
                )
            break
        solution.add_(conjugate, alpha=overlap / curvature)
        residual.sub_(image, alpha=overlap / curvature)
    return solution
