"""Compute curvature with curvlinops, in an environment that has it and does not have raymu.

python curvature_curvlinops.py CASES.pt prints how far each of raymu's vectors is from its own.
"""

import json
import sys
from importlib.metadata import version
from typing import Any

import torch
from curvlinops import FisherType, GGNLinearOperator, KFACInverseLinearOperator, KFACLinearOperator
from torch import Tensor, nn


def difference(vector: Tensor, expected: Tensor) -> float:
    """Return the distance of two vectors, as a fraction of the second's norm."""
    return float((vector - expected).norm() / expected.norm())


def compare(case: dict[str, Any]) -> dict[str, float]:
    """Multiply the case's vector by the Gauss-Newton matrix, and by the inverse of its Kronecker factors."""
    model, vector = case["model"], case["vector"]
    parameters, loss = list(model.parameters()), nn.CrossEntropyLoss()
    products = GGNLinearOperator(model, loss, parameters, [(case["inputs"], case["labels"])])
    factors = KFACLinearOperator(
        model,
        loss,
        parameters,
        [(case["inputs"], case["drawn_labels"])],  # raymu's own draw, so that both see the same gradients
        fisher_type=FisherType.EMPIRICAL,
        separate_weight_and_bias=False,
    )
    inverse = KFACInverseLinearOperator(factors, damping=case["damping"], use_exact_damping=True)
    return {
        "product": difference(case["product"], products @ vector),
        "kfac": difference(case["solution"], inverse @ vector),
    }


def main() -> None:
    cases = torch.load(sys.argv[1], weights_only=False)
    differences = {name: compare(case) for name, case in cases.items()}
    print(json.dumps({"version": version("curvlinops-for-pytorch"), "differences": differences}))


if __name__ == "__main__":
    main()
