"""Measuring a stage while it trains: the training loss, and loss and score on held-out samples."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from raymu.core.scores import SCORES
from raymu.core.stage_measures import Validation
from raymu.training.classifier import Classifier
from raymu.training.encoder import PreparedSamples
from raymu.training.held_out import HeldOut
from raymu.training.losses import Loss, Reduction

_PACKED = 1024
"""Losses of batches that are kept one by one, until they become one tensor."""


def validate(classifier: Classifier, held_out: HeldOut, prepared: PreparedSamples) -> Validation:
    """Measure a classifier on held-out samples, in evaluation mode.

    Args:
        classifier: The classifier.
        held_out: The samples.
        prepared: The same, as the classifier prepared them.
    """
    encoder, total = prepared.encoder, 0.0
    predictions: list[Tensor] = []
    targets = classifier.targets(held_out.labels).split(classifier.evaluation_batch)
    with torch.no_grad():
        for outputs, truth in zip(classifier.outputs(prepared), targets, strict=True):
            total += float(classifier.loss(outputs, truth, "sum"))
            predictions.append(encoder.in_units_of_targets(classifier.target.predict(outputs)).cpu())
    score = SCORES[held_out.target](torch.cat(predictions).numpy(), held_out.labels)
    return Validation(loss=total / len(held_out.labels), score=score)


class LossMeter:
    """A loss that also adds up its values, without changing them. It waits for no device before it is read."""

    def __init__(self, loss: Loss, device: torch.device) -> None:
        self.loss, self._device = loss, device
        self._means: list[Tensor] = []
        self._samples: list[int] = []
        self._packed: list[Tensor] = []

    def __call__(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        value = self.loss(outputs, targets, reduction)
        samples = len(targets)
        if samples:
            self._means.append(value.detach() if reduction == "mean" else value.detach().sum() / samples)
            self._samples.append(samples)
            if len(self._means) == _PACKED:
                self._pack()
        return value

    @property
    def total(self) -> Tensor:
        """(2,) float64: the sum of the losses of all samples, and their number."""
        self._pack()
        total = 0.0
        for mean, samples in zip(torch.cat(self._packed).tolist() if self._packed else (), self._samples, strict=True):
            total += mean * samples
        return torch.tensor([total, sum(self._samples)], dtype=torch.float64, device=self._device)

    def _pack(self) -> None:
        """Put losses into one tensor: each of its own would take many times its four bytes."""
        if self._means:
            self._packed.append(torch.stack(self._means).double())
            self._means = []


@contextmanager
def metered(classifier: Classifier) -> Iterator[LossMeter]:
    """Meter the loss of a classifier meanwhile."""
    loss, meter = classifier.loss, LossMeter(classifier.loss, classifier.device)
    classifier.loss = meter
    try:
        yield meter
    finally:
        classifier.loss = loss


@contextmanager
def unmetered(classifier: Classifier) -> Iterator[None]:
    """Use the loss of a classifier without adding its values up, as for a trial on samples of zeros."""
    metered_loss = classifier.loss
    if isinstance(metered_loss, LossMeter):
        classifier.loss = metered_loss.loss
    try:
        yield
    finally:
        classifier.loss = metered_loss
