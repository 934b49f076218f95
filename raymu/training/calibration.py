"""Calibration: choose the strength of a patch by the loss that it leaves on the forget set.

The way to the strength is raymu's own, not the published rule.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from raymu.core.remedies import FORWARD_SHARE
from raymu.errors import PatchFailed
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.contributions import UNBOUNDED, Contribute, StrengthBounds
from raymu.training.model_state import go_back, snapshot
from raymu.training.models import normalizes_batches
from raymu.training.patch import PatchResult, mover_along, recompute_batch_norm, require_finite, subtract

_MAX_DOUBLINGS = 60
_MAX_BISECTIONS = 24
_TOLERANCE = 0.01
"""Largest distance of the forget set's loss from the unseen loss, as a fraction of the latter."""


def calibrate(
    classifier: Classifier,
    contribute: Contribute,
    forget: ShardSamples,
    retain: ShardSamples,
    *,
    unseen_loss: float,
    steps: int = 1,
    bounds: StrengthBounds = UNBOUNDED,
    drawn: ShardSamples | None = None,
) -> PatchResult:
    """Subtract contributions at the strength that brings samples' mean loss to the unseen loss.

    These samples are the forget set, or the forget set and others that the model has seen: the loss of a few samples says
    little about the strength. If the loss is there already, the least strength is subtracted: more would be over-forgetting,
    itself a leak.

    Args:
        classifier: Its weights change.
        contribute: Computes contributions, at the present weights for each step.
        forget: The forget set.
        retain: The other samples of the shard.
        unseen_loss: Mean loss of models that never saw the forget set and the drawn samples, on both.
        steps: Steps, each an equal share of the way from the present loss to the unseen loss.
        bounds: Least and most strength, each step having an equal share of both.
        drawn: Retained samples that the strength is measured on too, as if they were to be forgotten. They are not.

    Raises:
        PatchFailed: The contributions cannot be computed, no strength reaches the unseen loss though no bound stops it, or
            the weights become infinite or NaN.
    """
    passes = recompute_batch_norm(classifier, retain)
    if not drawn:
        result = _search(classifier, contribute, forget, retain, unseen_loss, steps, bounds)
        return replace(result, passes=passes + result.passes)
    state = snapshot(classifier.model)  # the strength is found, and used, from the same statistics
    measured = ShardSamples.joined([forget, drawn])
    search = _search(classifier, contribute, measured, retain, unseen_loss, steps, bounds)
    go_back(classifier.model, state)
    result = subtract(classifier, contribute, forget, retain, strength=search.strength, steps=steps)
    return replace(result, passes=passes + search.passes + result.passes)


def _search(
    classifier: Classifier,
    contribute: Contribute,
    samples: ShardSamples,
    retain: ShardSamples,
    unseen_loss: float,
    steps: int,
    bounds: StrengthBounds,
) -> PatchResult:
    """Calibrate to the samples' own loss, from weights whose batch-norm statistics are their own.

    Batch-norm statistics move with the weights, and the loss with them, so a second search follows them in the last step.
    """
    search = _Search(classifier, samples, retain, bounds.scaled(1.0 / steps))
    start = loss = search.loss()
    if not (math.isfinite(start) and math.isfinite(unseen_loss)):
        raise PatchFailed("the loss on the forget set is not finite")
    for step in range(1, steps + 1):
        if not bounds.least and _reaches(loss, unseen_loss):
            break
        contributions = contribute(samples)
        search.passes += contributions.passes
        aim = start + (unseen_loss - start) * step / steps
        loss = search.step_to(aim, contributions.vector, loss, follows_statistics=step == steps)
    require_finite(classifier)
    return PatchResult(passes=search.passes, strength=search.strength, forget_loss=loss)


class _Search:
    """The steps of a calibration, and the sample passes that they take."""

    def __init__(
        self, classifier: Classifier, forget: ShardSamples, retain: ShardSamples, bounds: StrengthBounds
    ) -> None:
        self._classifier, self._retain, self._bounds = classifier, retain, bounds
        self._has_statistics = normalizes_batches(classifier.trained)
        self._samples = classifier.prepare(forget.features)
        self._targets = classifier.targets(forget.labels)
        self.passes = 0.0
        self.strength = 0.0

    def loss(self) -> float:
        """Compute the mean loss on the forget set."""
        self.passes += len(self._samples) * FORWARD_SHARE
        return self._classifier.mean_loss(self._samples, self._targets)

    def recompute_statistics(self) -> None:
        self.passes += recompute_batch_norm(self._classifier, self._retain)

    def step_to(self, aim: float, vector: Tensor, loss_before: float, *, follows_statistics: bool) -> float:
        """Move the weights along a vector until the loss is near an aim.

        Args:
            aim: The loss to reach.
            vector: (parameters,), subtracted at the strength that is found.
            loss_before: The present loss.
            follows_statistics: Search once more with batch-norm statistics computed anew for each strength.

        Returns:
            The loss that is left.
        """
        move_to = mover_along(self._classifier, vector)
        losses = {0.0: loss_before}

        def loss_at(strength: float) -> float:
            if strength not in losses:
                move_to(strength)
                losses[strength] = self.loss()
            return losses[strength]

        strength = find_strength(loss_at, aim, self._bounds)
        move_to(strength)
        if not (strength and self._has_statistics):
            self.strength += strength
            return loss_at(strength)
        self.recompute_statistics()
        losses = {0.0: loss_before, 1.0: self.loss()}
        if not follows_statistics:
            self.strength += strength
            return losses[1.0]
        reached = 1.0  # the factor whose weights the statistics are of

        def loss_with_statistics_at(factor: float) -> float:
            nonlocal reached
            if factor not in losses:
                move_to(factor * strength)
                self.recompute_statistics()
                losses[factor], reached = self.loss(), factor
            return losses[factor]

        factor = find_strength(loss_with_statistics_at, aim, self._bounds.scaled(1.0 / strength))
        self.strength += factor * strength
        move_to(factor * strength)
        if factor != reached:  # its loss was known, so that the search did not go there again
            self.recompute_statistics()
        return self.loss()


def _reaches(loss: float, target: float) -> bool:
    return loss >= target * (1.0 - _TOLERANCE)


def find_strength(loss_at: Callable[[float], float], target: float, bounds: StrengthBounds = UNBOUNDED) -> float:
    """Find a strength at which the loss is near the target: by doubling, then by interpolation and bisection in turn.

    Args:
        loss_at: Loss at a strength. It is called with the returned strength last.
        target: The loss to reach.
        bounds: Least and most strength.

    Returns:
        The least strength if the loss reaches the target there, and the most if it stays below the target there.

    Raises:
        PatchFailed: The loss stays below the target though no bound stops it, jumps over it, or is not finite.
    """
    loss = loss_at(bounds.least)
    if not (math.isfinite(loss) and math.isfinite(target)):
        raise PatchFailed("the loss on the forget set is not finite")
    if _reaches(loss, target):
        return bounds.least
    (low, low_loss), high = (bounds.least, loss), min(max(1.0, 2.0 * bounds.least), bounds.most)
    for _ in range(_MAX_DOUBLINGS):
        high_loss = loss_at(high)
        if not high_loss < target * (1.0 - _TOLERANCE):  # also if the loss is NaN
            break
        if high >= bounds.most:
            return high
        low, low_loss, high = high, high_loss, min(2.0 * high, bounds.most)
    else:
        raise PatchFailed("no strength brings the forget set's loss to that of unseen samples")
    strength, loss = high, high_loss
    for trial in range(2 * _MAX_BISECTIONS):
        if abs(loss - target) <= _TOLERANCE * target:
            return strength
        if loss < target:
            low, low_loss = strength, loss
        else:
            high, high_loss = strength, loss
        share = 0.5
        if trial % 2 == 0 and math.isfinite(high_loss):
            share = min(max((target - low_loss) / (high_loss - low_loss), 0.05), 0.95)
        strength = low + share * (high - low)
        loss = loss_at(strength)
    raise PatchFailed("the forget set's loss jumps over that of unseen samples")
