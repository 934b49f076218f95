"""ROC statistics of an attack: the area under the curve, and true positives at few false ones, with intervals."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from raymu.core.audit.attacks import Scores

CONFIDENCE = 0.95
"""Confidence level of every interval in this module."""
ENOUGH_FALSE_POSITIVES = 10
"""Least expected number of false positives for a true positive rate: at 0.1% it takes 10,000 non-members."""
_BISECTIONS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A measured value with its confidence interval."""

    value: float
    low: float
    high: float


def auc(members: Scores, non_members: Scores) -> Estimate:
    """Estimate the probability that a member scores above a non-member, with ties counting half.

    The interval has DeLong's variance (Biometrics 1988) on the scale of log odds. With a single member or non-member it
    is [0, 1]. If the variance is 0, the interval is the Clopper-Pearson one of as many successes as members or
    non-members, if all are separated, or of half as many, if all scores tie.
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
    """Whether there are enough non-members for a true positive rate. With fewer, the threshold is a matter of chance."""
    return non_members * fpr >= ENOUGH_FALSE_POSITIVES - 1e-9


def tpr_at(fpr: float, members: Scores, non_members: Scores) -> Estimate:
    """Estimate the true positive rate at the lowest threshold with at most the false positive rate `fpr`.

    Raises ValueError if there are too few non-members.
    """
    if not has_enough_for_tpr(fpr, len(non_members)):
        raise ValueError(f"{len(non_members)} non-members are too few for a true positive rate at {fpr:.1%}")
    allowed = int(len(non_members) * fpr + 1e-9)
    threshold = np.sort(non_members)[-allowed - 1]
    return clopper_pearson(int((members > threshold).sum()), len(members))


def clopper_pearson(successes: int, trials: int) -> Estimate:
    """Estimate a rate with its exact interval (Clopper and Pearson, Biometrika 1934)."""
    tail = (1.0 - CONFIDENCE) / 2.0
    low = 0.0 if successes == 0 else _rate_with_tail(tail, successes, trials)
    high = 1.0 if successes == trials else 1.0 - _rate_with_tail(tail, trials - successes, trials)
    return Estimate(value=successes / trials, low=low, high=high)


def _rate_with_tail(tail: float, successes: int, trials: int) -> float:
    """Return the rate at which at least this number of successes has the probability `tail`."""
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
    """Return the share of non-members below each member, and of members above each non-member. Ties count half."""
    return _share_below(members, non_members), 1.0 - _share_below(non_members, members)


def _share_below(scores: Scores, others: Scores) -> Scores:
    others = np.sort(others)
    twice = np.searchsorted(others, scores, side="left") + np.searchsorted(others, scores, side="right")
    return twice / (2.0 * len(others))
