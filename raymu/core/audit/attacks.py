"""Membership inference attacks: each row of `ATTACKS` turns signals into scores, higher for likelier members."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Mask
from raymu.core.audit.signals import Confidences, Signals, losses, probabilities

Scores = npt.NDArray[np.float64]

OWN_VARIANCE_FROM = 32
"""Number of models of a kind (in or out) from which each sample has its own variance; with fewer, all share one."""
RMIA_GAMMA = 2.0
"""A member must be this many times likelier than a population sample. The value is that of the attack's authors."""
_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gaussians:
    """A normal distribution of confidences for each sample."""

    mean: Confidences
    """(samples,)."""
    deviation: Confidences
    """(samples,) standard deviation."""

    @classmethod
    def fit(cls, shadows: Confidences, is_used: Mask) -> "Gaussians":
        """Fit the distribution of each sample to the models that are used for it. Both arrays are (models, samples)."""
        counts = is_used.sum(axis=0)
        mean = np.where(is_used, shadows, 0.0).sum(axis=0) / counts
        squares = np.where(is_used, (shadows - mean) ** 2, 0.0).sum(axis=0)
        if counts.min() >= OWN_VARIANCE_FROM:
            variance = squares / (counts - 1)
        else:
            variance = np.full_like(mean, squares.sum() / max((counts - 1).sum(), 1))
        return cls(mean=mean, deviation=np.sqrt(variance).clip(min=_LEAST_DEVIATION))

    def standardise(self, confidences: Confidences) -> Confidences:
        """Return the number of standard deviations above the mean."""
        return (confidences - self.mean) / self.deviation

    def log_density(self, confidences: Confidences) -> Confidences:
        """Return the logarithm of the density, up to a constant."""
        return -0.5 * self.standardise(confidences) ** 2 - np.log(self.deviation)


def loss_threshold(signals: Signals) -> Scores:
    """Score by the loss: a lower one is likelier a member's (Yeom et al., CSF 2018)."""
    return -losses(signals.target)


def lira_offline(signals: Signals) -> Scores:
    """Score by the standard deviations above models that never saw the sample (Carlini et al., S&P 2022).

    The published score is the normal distribution function of this one, which ranks alike and saturates.
    """
    return Gaussians.fit(signals.shadows, ~signals.is_in).standardise(signals.target)


def lira_online(signals: Signals) -> Scores:
    """Score by the log likelihood ratio of members to non-members (Carlini et al., S&P 2022, algorithm 1)."""
    seen = Gaussians.fit(signals.shadows, signals.is_in)
    unseen = Gaussians.fit(signals.shadows, ~signals.is_in)
    return seen.log_density(signals.target) - unseen.log_density(signals.target)


def rmia(signals: Signals) -> Scores:
    """Score by the share of the population that a sample is RMIA_GAMMA times likelier than (Zarifzadeh et al., ICML 2024).

    Likelihood is that of the target relative to the average of the shadow models, half of which saw the sample.
    """
    on_average = probabilities(signals.shadows).mean(axis=0)
    ratios = -losses(signals.target) - np.log(on_average.clip(min=np.finfo(np.float64).tiny))
    population = np.sort(ratios[signals.is_population])
    return np.searchsorted(population, ratios - np.log(RMIA_GAMMA), side="right") / len(population)


def two_generations(signals: Signals) -> Scores:
    """Score by the confidence that the model lost with the request (after Chen et al., CCS 2021)."""
    return signals.before - signals.target


TWO_GENERATIONS_NOTE = (
    "compares the generations before and after the request, and so finds that something was deleted. It finds that in the "
    "exact model as well as in a patched one: it says nothing of what the served model still knows, and decides no verdict"
)
"""What an AUC of this attack above 0.5 means. It is shown wherever the AUC is."""

ATTACKS: Mapping[str, Callable[[Signals], Scores]] = {
    "loss": loss_threshold,
    "lira_offline": lira_offline,
    "lira_online": lira_online,
    "rmia": rmia,
    "two_generations": two_generations,
}
