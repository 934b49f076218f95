"""The input of attacks: confidences of a model on some samples, and those of shadow models."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Mask
from raymu.core.partition import Hashes, derive_seed, splitmix64

Confidences = npt.NDArray[np.float64]
"""log(p / (1 - p)) of the true class's probability p, which is nearly Gaussian over models (Carlini et al., S&P 2022)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Signals:
    """Confidences of several models on the same samples."""

    target: Confidences
    """(samples,) of the attacked model."""
    before: Confidences
    """(samples,) of the model before the request."""
    shadows: Confidences
    """(models, samples) of the shadow models."""
    is_in: Mask
    """(models, samples) whether a shadow model was trained on a sample."""
    is_population: Mask
    """(samples,) whether a sample represents the distribution: the target never saw it."""

    def __post_init__(self) -> None:
        if not self.shadows.shape == self.is_in.shape == (len(self.shadows), *self.target.shape):
            raise ValueError(
                f"shadows {self.shadows.shape}, is_in {self.is_in.shape}, target {self.target.shape} differ"
            )
        if (self.is_in.all(axis=0) | ~self.is_in.any(axis=0)).any():
            raise ValueError("every sample needs shadow models that were trained on it and others that were not")


def losses(confidences: Confidences) -> Confidences:
    """Return the cross-entropy in nats of confidences of any shape."""
    return np.logaddexp(0.0, -confidences)


def probabilities(confidences: Confidences) -> npt.NDArray[np.float64]:
    """Return the probability of the true class, from confidences of any shape."""
    return np.exp(-losses(confidences))


def shadow_members(hashes: Hashes, model: int, *, seed: int) -> Mask:
    """Choose the half of the samples that a shadow model is trained on, by a keyed hash of each.

    Models 2j and 2j + 1 have complementary halves, so that half of an even number of models is trained on each sample.

    Args:
        hashes: (samples,) uint64.
        model: Index of the shadow model.
        seed: Seed of the audit.

    Returns:
        (samples,) bool.
    """
    cut = np.uint64(derive_seed(seed, "shadow", model // 2))
    return (splitmix64(hashes ^ cut) >> np.uint64(63)) == np.uint64(model % 2)
