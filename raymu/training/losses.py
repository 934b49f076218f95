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

from raymu.config import TargetName
from raymu.config.fields import Fraction, NonNegative, Positive
from raymu.config.training import LossConfig, LossName
from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.factories import call_factory, call_row
from raymu.training.targets import TARGETS

Reduction: TypeAlias = Literal["none", "sum", "mean"]


class Loss(Protocol):
    """The loss of outputs against targets.

    `mean` divides by the number of samples, so that the loss of a batch is the weighted mean of its parts' losses: ranks
    that share a batch depend on it.
    """

    def __call__(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Compute the loss.

        Args:
            outputs: What the model returns, (samples, outputs).
            targets: Classes, (samples,) int64; or labels and numbers, (samples, outputs) float32.
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
    weights = _weights("class_weights", class_weights, classes)
    return CrossEntropy(label_smoothing=label_smoothing, class_weights=weights)


@validate_call
def binary_cross_entropy(classes: int, *, label_weights: Sequence[NonNegative] | None = None) -> FactoryLoss:
    """Build the mean over all labels of each label's own cross-entropy. label_weights: factor on each label's part"""
    weights = _weights("label_weights", label_weights, classes)

    def per_sample(outputs: Tensor, targets: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(outputs, targets.to(outputs), reduction="none")
        return (losses if weights is None else losses * losses.new_tensor(weights)).mean(dim=1)

    return FactoryLoss(per_sample=per_sample)


@validate_call
def squared_error(classes: int) -> FactoryLoss:
    """Build the squared error, the mean over all numbers of a sample."""
    return FactoryLoss(per_sample=lambda outputs, targets: (outputs - targets.to(outputs)).square().mean(dim=1))


@validate_call
def absolute_error(classes: int) -> FactoryLoss:
    """Build the absolute error, the mean over all numbers of a sample."""
    return FactoryLoss(per_sample=lambda outputs, targets: (outputs - targets.to(outputs)).abs().mean(dim=1))


@validate_call
def huber(classes: int, *, delta: Positive = 1.0) -> FactoryLoss:
    """Build Huber's loss: half the squared error up to delta, and linear beyond; the mean over all numbers of a sample."""

    def per_sample(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.huber_loss(outputs, targets.to(outputs), reduction="none", delta=delta).mean(dim=1)

    return FactoryLoss(per_sample=per_sample)


def _weights(name: str, weights: Sequence[float] | None, classes: int) -> tuple[float, ...] | None:
    if weights is not None and len(weights) != classes:
        raise ConfigInvalid(
            f"training.loss.{name}: has {len(weights)} weights for {classes} classes; give one for each"
        )
    return None if weights is None else tuple(weights)


LOSSES: Mapping[LossName, Callable[..., Loss]] = {
    LossName.CROSS_ENTROPY: cross_entropy,
    LossName.BINARY_CROSS_ENTROPY: binary_cross_entropy,
    LossName.SQUARED_ERROR: squared_error,
    LossName.ABSOLUTE_ERROR: absolute_error,
    LossName.HUBER: huber,
}
"""Each row takes the number of outputs and the user's keyword arguments."""
TARGETS_OF: Mapping[LossName, TargetName] = {
    LossName.CROSS_ENTROPY: TargetName.CLASSES,
    LossName.BINARY_CROSS_ENTROPY: TargetName.LABELS,
    LossName.SQUARED_ERROR: TargetName.REGRESSION,
    LossName.ABSOLUTE_ERROR: TargetName.REGRESSION,
    LossName.HUBER: TargetName.REGRESSION,
}
"""The target that each loss is of."""


def build_loss(config: LossConfig | None, *, classes: int, target: TargetName = TargetName.CLASSES) -> Loss:
    """Build the configured loss, or the target's own without one. Raises ConfigInvalid."""
    config = config or LossConfig(name=target.default_loss)
    if config.name is not None and TARGETS_OF[config.name] is not target:
        fitting = ", ".join(name for name, of in TARGETS_OF.items() if of is target)
        raise ConfigInvalid(f"training.loss: {config.name} is no loss for task.target {target}; use {fitting}")
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


def check_loss(loss: Loss, *, classes: int, target: TargetName = TargetName.CLASSES) -> None:
    """Try a loss on three samples. Raises ConfigInvalid if it fails, or does not return one number per sample."""
    outputs = torch.zeros(3, classes, requires_grad=True)
    try:
        losses = loss(outputs, TARGETS[target].blank(3, classes), "none")
        shape = tuple(losses.shape)
        if shape == (3,):
            losses.sum().backward()
    except Exception as error:  # whatever the user's own code raises
        raise ConfigInvalid(f"training.loss: fails on outputs and targets of 3 samples ({one_line(error)})") from error
    if shape != (3,):
        raise ConfigInvalid(f"training.loss: gives shape {shape} for 3 samples; it must give one loss per sample, (3,)")
