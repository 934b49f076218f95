"""What an attack has to go by: a model's confidences on some samples, and those of shadow models."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Mask
from raymu.core.partition import Hashes, derive_seed, splitmix64

Confidences = npt.NDArray[np.float64]
"""log(p / (1 - p)) of the true class's probability p: over models nearly Gaussian (Carlini et al., S&P 2022)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Signals:
    """Confidences on the same samples.

    target: (samples,) of the model that is attacked; before: (samples,) of the model before the request
    shadows: (models, samples); is_in: (models, samples) which of them were trained on which sample
    is_population: (samples,) which ones stand for samples of the same kind that the target never saw
    """

    target: Confidences
    before: Confidences
    shadows: Confidences
    is_in: Mask
    is_population: Mask

    def __post_init__(self) -> None:
        if not self.shadows.shape == self.is_in.shape == (len(self.shadows), *self.target.shape):
            raise ValueError(
                f"shadows {self.shadows.shape}, is_in {self.is_in.shape}, target {self.target.shape} differ"
            )
        if (self.is_in.all(axis=0) | ~self.is_in.any(axis=0)).any():
            raise ValueError("every sample must be in for some shadow models, and out for others")


def losses(confidences: Confidences) -> Confidences:
    """Cross-entropy in nats, of any shape."""
    return np.logaddexp(0.0, -confidences)


def probabilities(confidences: Confidences) -> npt.NDArray[np.float64]:
    """Of the true class, of any shape."""
    return np.exp(-losses(confidences))


def shadow_members(hashes: Hashes, model: int, *, seed: int) -> Mask:
    """The half of the samples that a shadow model is trained on, by a keyed hash of each.

    Models 2j and 2j + 1 have the two halves of one cut: of an even number of models each sample is in for exactly half.
    hashes: (samples,) uint64; returns: (samples,) bool
    """
    cut = np.uint64(derive_seed(seed, "shadow", model // 2))
    return (splitmix64(hashes ^ cut) >> np.uint64(63)) == np.uint64(model % 2)
