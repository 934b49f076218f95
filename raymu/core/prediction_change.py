"""How far a repair moved the predictions of a shard, as means that describe no single sample."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEWEST_SAMPLES = 32
"""Smallest number of samples that a mean is taken over. With fewer there is none, so that it says nothing of one of them."""
MOST_SAMPLES = 512
"""Largest number of samples of a kind that both states predict."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionChange:
    """Mean absolute difference of the true label's probability between a shard's states before and after a repair.

    A mean is None if there are fewer than `FEWEST_SAMPLES` samples to take it over.
    """

    forgotten: float | None = None
    """Over the samples that the repair forgot."""
    retained: float | None = None
    """Over samples that the shard retains."""
    unseen: float | None = None
    """Over samples of another shard, which neither state was trained on."""


def mean_change(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> float | None:
    """Return the mean absolute difference of two states' probabilities, both (samples,); None for too few samples."""
    return float(np.abs(after - before).mean()) if len(before) >= FEWEST_SAMPLES else None
