"""Membership inference attacks. A row of ATTACKS takes signals and returns scores: the higher, the more like a member."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Mask
from raymu.core.audit.signals import Confidences, Signals, losses, probabilities

Scores = npt.NDArray[np.float64]

OWN_VARIANCE_FROM = 32
"""Models of a kind (in, or out) from which on a sample has a variance of its own; with fewer, all samples share one."""
RMIA_GAMMA = 2.0
"""How many times likelier than a population sample a member must be, as the attack's authors set it."""
_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gaussians:
    """A normal distribution of confidences for each sample. mean, deviation: (samples,)"""

    mean: Confidences
    deviation: Confidences

    @classmethod
    def fit(cls, shadows: Confidences, is_used: Mask) -> "Gaussians":
        """To the models that are used for each sample. shadows, is_used: (models, samples)"""
        counts = is_used.sum(axis=0)
        mean = np.where(is_used, shadows, 0.0).sum(axis=0) / counts
        squares = np.where(is_used, (shadows - mean) ** 2, 0.0).sum(axis=0)
        if counts.min() >= OWN_VARIANCE_FROM:
            variance = squares / (counts - 1)
        else:
            variance = np.full_like(mean, squares.sum() / max((counts - 1).sum(), 1))
        return cls(mean=mean, deviation=np.sqrt(variance).clip(min=_LEAST_DEVIATION))

    def standardise(self, confidences: Confidences) -> Confidences:
        return (confidences - self.mean) / self.deviation

    def log_density(self, confidences: Confidences) -> Confidences:
        """Up to a constant."""
        return -0.5 * self.standardise(confidences) ** 2 - np.log(self.deviation)


def loss_threshold(signals: Signals) -> Scores:
    """The lower the loss, the likelier a member (Yeom et al., CSF 2018)."""
    return -losses(signals.target)


def lira_offline(signals: Signals) -> Scores:
    """By how many deviations a confidence lies above those of models that never saw the sample (Carlini et al., S&P 2022).

    The published score is the normal distribution function of this one, which ranks alike and saturates.
    """
    return Gaussians.fit(signals.shadows, ~signals.is_in).standardise(signals.target)


def lira_online(signals: Signals) -> Scores:
    """Log likelihood ratio of having seen a sample to never having seen it (Carlini et al., S&P 2022, algorithm 1)."""
    seen = Gaussians.fit(signals.shadows, signals.is_in)
    unseen = Gaussians.fit(signals.shadows, ~signals.is_in)
    return seen.log_density(signals.target) - unseen.log_density(signals.target)


def rmia(signals: Signals) -> Scores:
    """Share of the population that a sample is RMIA_GAMMA times likelier than, or more (Zarifzadeh et al., ICML 2024).

    Likelier in the target than on average over the shadow models, half of which saw the sample.
    """
    on_average = probabilities(signals.shadows).mean(axis=0)
    ratios = -losses(signals.target) - np.log(on_average.clip(min=np.finfo(np.float64).tiny))
    population = np.sort(ratios[signals.is_population])
    return np.searchsorted(population, ratios - np.log(RMIA_GAMMA), side="right") / len(population)


def two_generations(signals: Signals) -> Scores:
    """How much confidence the model had before the request, and has no more (after Chen et al., CCS 2021)."""
    return signals.before - signals.target


ATTACKS: Mapping[str, Callable[[Signals], Scores]] = {
    "loss": loss_threshold,
    "lira_offline": lira_offline,
    "lira_online": lira_online,
    "rmia": rmia,
    "two_generations": two_generations,
}
