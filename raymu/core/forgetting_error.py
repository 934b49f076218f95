"""The forgetting error of one model: its distance from retrained oracles, as a multiple of the floor.

A search has one model for each choice, too few for the distribution that KLoM compares. So the variance of the oracles serves
both sides: KL(N(m, s^2) || N(m_o, s^2)) = (m - m_o)^2 / (2 s^2), where m is the model's margin.
"""

from dataclasses import dataclass

import numpy as np

from raymu.core.arrays import Floats
from raymu.core.audit.attacks import Gaussians
from raymu.core.audit.forgetting import ratio_to_floor
from raymu.core.audit.signals import Confidences, probabilities

FEWEST_ORACLES = 3
"""Fewest oracles with seeds of their own: each in turn is left out and compared with the others."""
ORACLES = 4
"""Usual number. With them, the paired error of a model varies by 4% with the choice of oracles, that by KLoM by 13%."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgettingError:
    """Distances on the forget set as multiples of the floor's: 1 is as near as a retraining with another seed."""

    klom: float
    """Of the KLoM at equal variance, from the distribution of the oracles. The retrained oracle itself is near 1."""
    paired: float
    """Of the mean absolute difference of the true label's probability from that of the run's own oracle, which has 0."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RetrainedConfidences:
    """Confidences in the true label of forgotten samples, by oracles of the shards that held them: log odds."""

    own_seed: Confidences
    """(samples,) of the oracle with the run's seed, which settling gives."""
    other_seeds: Confidences
    """(models, samples) of oracles with seeds of their own."""

    def __post_init__(self) -> None:
        if len(self.other_seeds) < FEWEST_ORACLES:
            raise ValueError(f"the floor needs {FEWEST_ORACLES} oracles or more, not {len(self.other_seeds)}")

    def error_of(self, model: Confidences) -> ForgettingError:
        """Compare a model with the oracles. model: (samples,)"""
        numbers = range(len(self.other_seeds))
        others = [np.delete(self.other_seeds, number, axis=0) for number in numbers]
        distances = [_klom(model, reference) for reference in others]
        floors = [_klom(self.other_seeds[number], reference) for number, reference in enumerate(others)]
        differences = [self._difference(oracle) for oracle in self.other_seeds]
        return ForgettingError(
            klom=ratio_to_floor(float(np.mean(distances)), float(np.mean(floors))),
            paired=ratio_to_floor(self._difference(model), float(np.mean(differences))),
        )

    def _difference(self, model: Confidences) -> float:
        return _mean(np.abs(probabilities(model) - probabilities(self.own_seed)))


def _klom(model: Confidences, oracles: Confidences) -> float:
    """Return the mean KLoM at equal variance, in nats."""
    if not len(model):
        return 0.0
    fitted = Gaussians.fit(oracles, np.ones(oracles.shape, dtype=bool))
    return _mean(fitted.standardise(model) ** 2 / 2.0)


def _mean(values: Floats) -> float:
    """Return a mean; 0 of no samples, as when every shard that held one is empty now."""
    return float(values.mean()) if len(values) else 0.0
