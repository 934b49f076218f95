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
        self.loss = loss
        self.total = torch.zeros(2, dtype=torch.float64, device=device)
        """(2,) float64: the sum of the losses of all samples, and their number."""

    def __call__(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        value = self.loss(outputs, targets, reduction)
        samples = len(targets)
        if samples:
            mean = value.detach() if reduction == "mean" else value.detach().sum() / samples
            self.total += torch.stack([mean.double() * samples, mean.new_full((), samples, dtype=torch.float64)])
        return value


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
