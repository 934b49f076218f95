"""Factories as users write them: a loss, optimizers and a schedule."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer


def focal_loss(gamma: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Lin et al., ICCV 2017, equation 4."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        losses = F.cross_entropy(outputs, targets, reduction="none")
        return (1.0 - torch.exp(-losses)) ** gamma * losses

    return loss


def one_number() -> Callable[[Tensor, Tensor], Tensor]:
    return lambda outputs, targets: F.cross_entropy(outputs, targets)


def two_rates(share: float) -> Callable[[Iterator[nn.Parameter], float], Optimizer]:
    """Return an optimizer that trains biases at a fraction of the rate."""

    def build(parameters: Iterator[nn.Parameter], rate: float) -> Optimizer:
        own = list(parameters)
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in own if parameter.ndim > 1]},
            {"params": [parameter for parameter in own if parameter.ndim == 1], "lr": share * rate},
        ]
        return torch.optim.SGD(groups, lr=rate, momentum=0.5)

    return build


def only_matrices() -> Callable[[Iterator[nn.Parameter], float], Optimizer]:
    """Return an optimizer that leaves biases as they are."""
    return lambda parameters, rate: torch.optim.SGD([each for each in parameters if each.ndim > 1], lr=rate)


class Counting(Optimizer):
    """Has state that is not a tensor."""

    def __init__(self, parameters: Iterator[nn.Parameter], rate: float) -> None:
        super().__init__(parameters, {"lr": rate})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["steps"] = self.state[parameter].get("steps", 0) + 1


def counting() -> Callable[[Iterator[nn.Parameter], float], Optimizer]:
    return Counting


def halving(times: int) -> Callable[[float], float]:
    return lambda progress: 0.5 ** int(times * progress)


def negative() -> Callable[[float], float]:
    return lambda progress: -progress


def nothing() -> None:
    return None
