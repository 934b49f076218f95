"""How well scores tell members from others: ROC, area under it and true positives at few false ones, with intervals."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from raymu.core.audit.attacks import Scores

CONFIDENCE = 0.95
"""Of every interval here."""
ENOUGH_FALSE_POSITIVES = 10
"""How many there must be for a true positive rate beside them: at 0.1% it takes 10,000 non-members."""
_BISECTIONS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A measured value with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Roc:
    """false_positives, true_positives: (thresholds,) rates, ascending from (0, 0) to (1, 1)"""

    false_positives: npt.NDArray[np.float64]
    true_positives: npt.NDArray[np.float64]


def roc_curve(members: Scores, non_members: Scores) -> Roc:
    """One point for each threshold that tells something apart; equal scores share theirs."""
    scores = np.concatenate([members, non_members])
    order = np.argsort(-scores, kind="stable")
    is_member = (np.arange(len(scores)) < len(members))[order]
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(is_member)[ends]
    return Roc(
        false_positives=np.insert((ends + 1 - hits) / len(non_members), 0, 0.0),
        true_positives=np.insert(hits / len(members), 0, 0.0),
    )


def auc(members: Scores, non_members: Scores) -> Estimate:
    """Probability that a member scores above a non-member, ties counting half.

    The interval has DeLong's variance (Biometrics 1988), on the scale of log odds. Of a single member or non-member it is
    the whole of [0, 1]. Where that variance is none it is that of as many hits, all being told apart, or of as many coins
    that were tossed, all being tied.
    """
    above, below = _placements(members, non_members)
    value, fewer = float(above.mean()), min(len(members), len(non_members))
    if fewer < 2:
        return Estimate(value=value, low=0.0, high=1.0)
    if value in (0.0, 1.0):
        return clopper_pearson(fewer * int(value), fewer)
    variance = float(above.var(ddof=1) / len(members) + below.var(ddof=1) / len(non_members))
    if not variance:
        low = clopper_pearson(fewer // 2, fewer).low
        return Estimate(value=value, low=low, high=1.0 - low)
    reach = NormalDist().inv_cdf((1.0 + CONFIDENCE) / 2.0) * math.sqrt(variance) / (value * (1.0 - value))
    odds = value / (1.0 - value)
    low, high = odds * math.exp(-reach), odds * math.exp(reach)
    return Estimate(value=value, low=low / (1.0 + low), high=high / (1.0 + high))


def has_enough_for_tpr(fpr: float, non_members: int) -> bool:
    """Whether so many non-members are enough: with fewer the threshold, and the rate with it, is a matter of chance."""
    return non_members * fpr >= ENOUGH_FALSE_POSITIVES - 1e-9


def tpr_at(fpr: float, members: Scores, non_members: Scores) -> Estimate:
    """True positive rate at the lowest threshold with at most this false positive rate; Clopper and Pearson's interval.

    Raises ValueError for too few non-members.
    """
    if not has_enough_for_tpr(fpr, len(non_members)):
        raise ValueError(f"{len(non_members)} non-members are too few to tell a true positive rate at {fpr:.1%} by")
    allowed = int(len(non_members) * fpr + 1e-9)
    threshold = np.sort(non_members)[-allowed - 1]
    return clopper_pearson(int((members > threshold).sum()), len(members))


def clopper_pearson(successes: int, trials: int) -> Estimate:
    """A share with its exact interval (Clopper and Pearson, Biometrika 1934)."""
    tail = (1.0 - CONFIDENCE) / 2.0
    low = 0.0 if successes == 0 else _rate_with_tail(tail, successes, trials)
    high = 1.0 if successes == trials else 1.0 - _rate_with_tail(tail, trials - successes, trials)
    return Estimate(value=successes / trials, low=low, high=high)


def _rate_with_tail(tail: float, successes: int, trials: int) -> float:
    """The rate at which so many successes or more have this probability."""
    counts = np.arange(successes, trials + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    combinations = logs[trials] - logs[counts] - logs[trials - counts]
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        rate = (low + high) / 2.0
        with np.errstate(divide="ignore"):
            terms = combinations + counts * np.log(rate) + (trials - counts) * np.log1p(-rate)
        low, high = (rate, high) if np.exp(terms).sum() < tail else (low, rate)
    return (low + high) / 2.0


def _placements(members: Scores, non_members: Scores) -> tuple[Scores, Scores]:
    """For each member the share of non-members below it, for each non-member the share of members above; ties half."""
    return _share_below(members, non_members), 1.0 - _share_below(non_members, members)


def _share_below(scores: Scores, others: Scores) -> Scores:
    others = np.sort(others)
    twice = np.searchsorted(others, scores, side="left") + np.searchsorted(others, scores, side="right")
    return twice / (2.0 * len(others))
