"""Losses: rows of a table, and any other one by its factory.

Training, calibration, fine-tuning and audits of a run all use the one loss that its configuration names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch
from pydantic import validate_call
from torch import Tensor
from torch.nn import functional as F

from raymu.config.fields import Fraction, NonNegative
from raymu.config.training import LossConfig, LossName
from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.factories import call_factory, call_row

Reduction: TypeAlias = Literal["none", "sum", "mean"]


class Loss(Protocol):
    """The loss of outputs against targets.

    `mean` divides by the number of samples, so that the loss of a batch is the weighted mean of its parts' losses: ranks
    that share a batch depend on it.
    """

    def __call__(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Compute the loss.

        Args:
            outputs: What the model returns: logits, (samples, classes).
            targets: Labels, (samples,) int64.
            reduction: Over the samples; `none` gives one loss per sample.

        Returns:
            (), or (samples,) without reduction.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossEntropy:
    """Cross-entropy in nats."""

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def __call__(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        weights = None
        if self.class_weights is not None:
            weights = torch.tensor(self.class_weights, dtype=outputs.dtype, device=outputs.device)
        # PyTorch's weighted mean divides by the weights' sum, which depends on the other samples of a batch.
        own_reduction = reduction if weights is None else "none"
        losses = F.cross_entropy(
            outputs, targets, weights, reduction=own_reduction, label_smoothing=self.label_smoothing
        )
        return losses if weights is None else reduced(losses, reduction)


@dataclass(frozen=True, kw_only=True, slots=True)
class FactoryLoss:
    """A user's function of outputs and targets that returns one loss per sample."""

    per_sample: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        return reduced(self.per_sample(outputs, targets), reduction)


def reduced(losses: Tensor, reduction: Reduction) -> Tensor:
    """Reduce one loss per sample."""
    match reduction:
        case "none":
            return losses
        case "sum":
            return losses.sum()
        case "mean":
            return losses.mean()


@validate_call
def cross_entropy(
    classes: int, *, label_smoothing: Fraction = 0.0, class_weights: Sequence[NonNegative] | None = None
) -> CrossEntropy:
    """Build a cross-entropy. class_weights: factor on the loss of each class's samples."""
    if class_weights is not None and len(class_weights) != classes:
        raise ConfigInvalid(
            f"training.loss.class_weights: has {len(class_weights)} weights for {classes} classes; give one for each"
        )
    return CrossEntropy(
        label_smoothing=label_smoothing, class_weights=None if class_weights is None else tuple(class_weights)
    )


LOSSES: Mapping[LossName, Callable[..., Loss]] = {LossName.CROSS_ENTROPY: cross_entropy}
"""Each row takes the number of classes and the user's keyword arguments."""


def build_loss(config: LossConfig, *, classes: int) -> Loss:
    """Build the configured loss. Raises ConfigInvalid."""
    if config.name is not None:
        loss: Loss = call_row("training.loss", config, LOSSES[config.name], classes)
        return loss
    function = call_factory("training.loss", config)
    if not callable(function):
        raise ConfigInvalid(
            f"training.loss.factory: {config.factory} returned {type(function).__name__}; "
            "it must return a function of outputs and targets"
        )
    return FactoryLoss(per_sample=function)


def check_loss(loss: Loss, *, classes: int) -> None:
    """Try a loss on three samples. Raises ConfigInvalid if it fails, or does not return one number per sample."""
    outputs = torch.zeros(3, classes, requires_grad=True)
    try:
        losses = loss(outputs, torch.zeros(3, dtype=torch.int64), "none")
        shape = tuple(losses.shape)
        if shape == (3,):
            losses.sum().backward()
    except Exception as error:  # whatever the user's own code raises
        raise ConfigInvalid(f"training.loss: fails on logits and labels of 3 samples ({one_line(error)})") from error
    if shape != (3,):
        raise ConfigInvalid(f"training.loss: gives shape {shape} for 3 samples; it must give one loss per sample, (3,)")
