"""The score of predictions: one function for each kind of target, higher for better, 1 at best."""

from collections.abc import Callable, Mapping

import numpy as np

from raymu.config import TargetName
from raymu.core.arrays import Probabilities, Targets


def accuracy(predictions: Probabilities, targets: Targets) -> float:
    """Return the share of samples whose likeliest class is the true one.

    Args:
        predictions: (samples, classes) probabilities.
        targets: (samples,) int64.
    """
    return float((predictions.argmax(axis=1) == targets).mean())


def label_accuracy(predictions: Probabilities, targets: Targets) -> float:
    """Return the share of labels that are predicted right, at a probability of 1/2.

    Args:
        predictions: (samples, labels) probabilities.
        targets: (samples, labels) of 0 and 1.
    """
    return float(((predictions > 0.5) == (targets > 0.5)).mean())


def explained_share(predictions: Probabilities, targets: Targets) -> float:
    """Return the coefficient of determination, R2, the mean over all numbers: 0 for their mean, below 0 for worse.

    Args:
        predictions: (samples, numbers).
        targets: (samples, numbers).
    """
    errors = np.square(targets.astype(np.float64) - predictions).sum(axis=0)
    spreads = np.square(targets - targets.mean(axis=0, dtype=np.float64)).sum(axis=0)
    shares = 1.0 - errors / np.where(spreads > 0.0, spreads, 1.0)
    return float(shares.mean())


SCORES: Mapping[TargetName, Callable[[Probabilities, Targets], float]] = {
    TargetName.CLASSES: accuracy,
    TargetName.LABELS: label_accuracy,
    TargetName.REGRESSION: explained_share,
}
