"""What two snapshots of a model tell of a deletion: the answers before and after it, and how well an attacker guesses.

The question is: was this sample deleted between these two generations? Five features of pairs are those of Chen et al. (CCS
2021). The sixth is of an attacker who knows the true class of the samples that the question is about.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Floats, Labels, Mask
from raymu.core.audit.attacks import Scores
from raymu.core.audit.roc import CONFIDENCE, Estimate, clopper_pearson, has_enough_for_tpr

DRAWS = 1000
"""Resamples of a bootstrap."""
_TOP = 4.0
"""Multiple of a false positive rate within which the threshold of nearly every resample is reached."""
_LEAST_PROBABILITY = 1e-7
"""Answers are rounded to float32."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AnswerPairs:
    """Answers of two generations to the same questions."""

    before: Floats
    """(samples, classes) probabilities, or 1 for the named class."""
    after: Floats
    """(samples, classes)."""
    truth: Labels
    """(samples,) the true classes, which the attacker knows."""
    marks: Floats | None = None
    """(samples, 2) 1 where the answer before, and that after, are marked as certain; None if answers have no marks."""

    def __post_init__(self) -> None:
        if not self.before.shape == self.after.shape == (len(self.truth), *self.before.shape[1:]):
            raise ValueError(f"answers {self.before.shape} and {self.after.shape} of {len(self.truth)} samples differ")

    def labels_only(self) -> "AnswerPairs":
        """Return what is left of the answers without probabilities."""
        classes = np.eye(self.before.shape[1])
        return AnswerPairs(
            before=classes[self.before.argmax(axis=1)],
            after=classes[self.after.argmax(axis=1)],
            truth=self.truth,
            marks=self.marks,
        )

    def unmarked(self) -> "AnswerPairs":
        """Return the answers without their marks."""
        return AnswerPairs(before=self.before, after=self.after, truth=self.truth)


def _ordered(pairs: AnswerPairs) -> tuple[Floats, Floats]:
    """Order the classes of each sample by their probability before. Returns before and after."""
    order = np.argsort(-pairs.before, axis=1, kind="stable")
    return np.take_along_axis(pairs.before, order, axis=1), np.take_along_axis(pairs.after, order, axis=1)


def _concatenation(pairs: AnswerPairs) -> Floats:
    return np.hstack([pairs.before, pairs.after])


def _sorted_concatenation(pairs: AnswerPairs) -> Floats:
    return np.hstack(_ordered(pairs))


def _difference(pairs: AnswerPairs) -> Floats:
    return pairs.before - pairs.after


def _sorted_difference(pairs: AnswerPairs) -> Floats:
    before, after = _ordered(pairs)
    return before - after


def _euclidean_distance(pairs: AnswerPairs) -> Floats:
    return np.linalg.norm(pairs.before - pairs.after, axis=1, keepdims=True)


def _true_class(pairs: AnswerPairs) -> Floats:
    """Return probability and log odds of the true class, and what they lost."""
    rows = np.arange(len(pairs.truth))
    before, after = pairs.before[rows, pairs.truth], pairs.after[rows, pairs.truth]
    odds = [np.log(p / (1.0 - p)) for p in (_inside(before), _inside(after))]
    return np.stack([before - after, odds[0], odds[1], odds[0] - odds[1]], axis=1)


def _inside(probabilities: Floats) -> Floats:
    return np.asarray(probabilities, dtype=np.float64).clip(_LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)


PAIR_FEATURES: Mapping[str, Callable[[AnswerPairs], Floats]] = {
    "concatenation": _concatenation,
    "sorted_concatenation": _sorted_concatenation,
    "difference": _difference,
    "sorted_difference": _sorted_difference,
    "euclidean_distance": _euclidean_distance,
    "true_class": _true_class,
}
"""Each row turns pairs of answers into the input of an attack model: (samples, inputs)."""


def pair_features(name: str, pairs: AnswerPairs) -> Floats:
    """Return the features with a name, and the marks beside them. Returns (samples, inputs)."""
    features = PAIR_FEATURES[name](pairs)
    return features if pairs.marks is None else np.hstack([features, pairs.marks])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScoredChanges:
    """Scores of the samples of several visible changes, none of which the attack model was trained on."""

    scores: Scores
    """(samples,) higher for likelier deleted ones."""
    is_deleted: Mask
    """(samples,) whether the change took the sample out."""
    change: npt.NDArray[np.int64]
    """(samples,) number of the change, from 0 on."""

    @property
    def changes(self) -> int:
        return int(self.change.max()) + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotFigures:
    """The success of an attack at finding deleted samples. Intervals are a bootstrap over the visible changes."""

    auc: Estimate
    """Probability that a deleted sample scores above another; 0.5 if the attacker can only guess."""
    tpr_at_1_percent: Estimate | None
    """Share of the deleted samples that are found at a false positive rate of 1%; None if there are too few others."""
    tpr_at_0_1_percent: Estimate | None
    """The same at 0.1%."""
    named: Estimate
    """Probability that the one guess of the attacker is the sample of one given request.

    The attacker guesses the sample with the highest score. Which request of a group it belongs to does not show, so the
    probability is divided by the deleted samples of the change.
    """


def snapshot_figures(scored: ScoredChanges, *, seed: int) -> SnapshotFigures:
    """Measure an attack. A change is drawn as a whole, since its samples have the same two generations.

    Args:
        scored: Samples of the changes, each with deleted ones and others.
        seed: Seed of the draws.
    """
    others = int((~scored.is_deleted).sum())
    counts = _drawn_counts(scored.changes, seed=seed)
    curve = _Curve.of(scored)
    rates = {fpr: curve.tprs(fpr, counts) if has_enough_for_tpr(fpr, others) else None for fpr in (0.01, 0.001)}
    named = _named(scored)
    deleted = int(scored.is_deleted.sum())
    return SnapshotFigures(
        auc=_auc_estimate(_areas(scored, counts), deleted),
        tpr_at_1_percent=_rate_estimate(rates[0.01], deleted),
        tpr_at_0_1_percent=_rate_estimate(rates[0.001], deleted),
        named=_named_estimate(named, counts),
    )


def _drawn_counts(changes: int, *, seed: int) -> Floats:
    """Draw how often each change is in a resample. Returns (1 + DRAWS, changes), with every change once in the first row."""
    random = np.random.default_rng(seed)
    drawn = random.multinomial(changes, np.full(changes, 1.0 / changes), size=DRAWS)
    return np.vstack([np.ones(changes), drawn])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Curve:
    """Samples in the order of falling scores, so that a resample is a weight for each."""

    is_deleted: Floats
    """(samples,) 0 or 1."""
    change: npt.NDArray[np.int64]
    """(samples,)"""
    ends: npt.NDArray[np.int64]
    """(levels,) number of samples with at least the score of a level."""

    @classmethod
    def of(cls, scored: ScoredChanges) -> "_Curve":
        order = np.argsort(-scored.scores, kind="stable")
        falling = scored.scores[order]
        last = np.append(falling[1:] != falling[:-1], True)
        return cls(
            is_deleted=scored.is_deleted[order].astype(np.float64),
            change=scored.change[order],
            ends=np.flatnonzero(last) + 1,
        )

    def tprs(self, fpr: float, counts: Floats) -> Floats:
        """Return the true positive rate of each resample, at the lowest threshold with at most the false positive rate.

        Args:
            fpr: The false positive rate.
            counts: (resamples, changes).
        """
        all_deleted, all_others = (
            counts @ np.bincount(self.change, weights=weights, minlength=counts.shape[1])
            for weights in (self.is_deleted, 1.0 - self.is_deleted)
        )
        ends = self.ends
        rates = np.empty(len(counts))
        top = int(np.searchsorted(np.cumsum(1.0 - self.is_deleted), _TOP * fpr * (1.0 - self.is_deleted).sum())) + 1
        for number, weights in enumerate(counts):
            for reached in (
                ends[: np.searchsorted(ends, top, side="right")],
                ends,
            ):  # mostly the first levels are enough
                deleted, others = self._counted(weights, reached)
                level = int(np.searchsorted(others, (fpr + 1e-12) * all_others[number], side="right"))
                if level < len(reached):
                    break
            rates[number] = deleted[level - 1] / all_deleted[number] if level else 0.0
        return rates

    def _counted(self, weights: Floats, ends: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return the weight of deleted samples, and of others, with at least the score of each level."""
        if not len(ends):
            return np.zeros(0), np.zeros(0)
        places = slice(0, ends[-1])
        weight = weights[self.change[places]]
        is_deleted = self.is_deleted[places]
        return np.cumsum(weight * is_deleted)[ends - 1], np.cumsum(weight * (1.0 - is_deleted))[ends - 1]


def _areas(scored: ScoredChanges, counts: Floats) -> Floats:
    """Return the area under the curve of each resample. counts: (resamples, changes)"""
    deleted, changes = scored.change[scored.is_deleted], scored.changes
    # Pairs in which a deleted sample of one change scores above a kept one of another. Ties count half.
    above = np.empty((changes, changes))
    others = np.empty(changes)
    for number in range(changes):
        scores = np.sort(scored.scores[~scored.is_deleted & (scored.change == number)])
        sides = [np.searchsorted(scores, scored.scores[scored.is_deleted], side=side) for side in ("left", "right")]
        above[:, number] = np.bincount(deleted, weights=(sides[0] + sides[1]) / 2.0, minlength=changes)
        others[number] = len(scores)
    pairs = (counts @ np.bincount(deleted, minlength=changes)) * (counts @ others)
    return ((counts @ above) * counts).sum(axis=1) / pairs


def _named(scored: ScoredChanges) -> Floats:
    """Return the probability of naming the sample of one request, (changes,). Of equal scores one is picked by chance."""
    named = np.empty(scored.changes)
    for number in range(scored.changes):
        scores, is_deleted = (part[scored.change == number] for part in (scored.scores, scored.is_deleted))
        named[number] = is_deleted[scores == scores.max()].mean() / is_deleted.sum()
    return named


def _auc_estimate(areas: Floats, deleted: int) -> Estimate:
    """Estimate from the areas of all resamples. If all are equal, the interval is that of `deleted` trials."""
    value, drawn = float(areas[0]), areas[1:]
    if np.ptp(drawn) > 0.0:
        return _interval(value, drawn)
    if value in (0.0, 1.0):
        return clopper_pearson(deleted * int(value), deleted)
    low = clopper_pearson(deleted // 2, deleted).low
    return Estimate(value=value, low=min(value, low), high=max(value, 1.0 - low))


def _rate_estimate(rates: Floats | None, deleted: int) -> Estimate | None:
    if rates is None:
        return None
    if np.ptp(rates[1:]) > 0.0:
        return _interval(float(rates[0]), rates[1:])
    return clopper_pearson(round(float(rates[0]) * deleted), deleted)


def _named_estimate(named: Floats, counts: Floats) -> Estimate:
    drawn = (counts[1:] @ named) / counts[1:].sum(axis=1)
    if np.ptp(named) > 0.0:
        return _interval(float(named.mean()), drawn)
    alike = clopper_pearson(round(float(named[0]) * len(named)), len(named))
    value = float(named[0])
    return Estimate(value=value, low=min(value, alike.low), high=max(value, alike.high))


def _interval(value: float, drawn: Floats) -> Estimate:
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return Estimate(value=value, low=min(value, float(low)), high=max(value, float(high)))
