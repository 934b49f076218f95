"""The score of predictions: one function for each kind of target, higher for better, 1 at best.

`ScoreSums` gives the same score of predictions that come part after part.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from raymu.config import TargetName
from raymu.core.arrays import Floats, Probabilities, Targets


def accuracy(predictions: Probabilities, targets: Targets) -> float:
    """Return the share of samples whose likeliest class is the true one.

    Args:
        predictions: (samples, classes) probabilities.
        targets: (samples,) int64.
    """
    return float(_has_class(predictions, targets).mean())


def label_accuracy(predictions: Probabilities, targets: Targets) -> float:
    """Return the share of labels that are predicted right, at a probability of 1/2.

    Args:
        predictions: (samples, labels) probabilities.
        targets: (samples, labels) of 0 and 1.
    """
    return float(_has_label(predictions, targets).mean())


def explained_share(predictions: Probabilities, targets: Targets) -> float:
    """Return the coefficient of determination, R2, the mean over all numbers: 0 for their mean, below 0 for worse.

    Args:
        predictions: (samples, numbers).
        targets: (samples, numbers).
    """
    errors = np.square(targets.astype(np.float64) - predictions).sum(axis=0)
    spreads = np.square(targets - targets.mean(axis=0, dtype=np.float64)).sum(axis=0)
    return _explained(errors, spreads)


def _has_class(predictions: Probabilities, targets: Targets) -> npt.NDArray[np.bool_]:
    is_right: npt.NDArray[np.bool_] = predictions.argmax(axis=1) == targets
    return is_right


def _has_label(predictions: Probabilities, targets: Targets) -> npt.NDArray[np.bool_]:
    is_right: npt.NDArray[np.bool_] = (predictions > 0.5) == (targets > 0.5)
    return is_right


def _explained(errors: Floats, spreads: Floats) -> float:
    shares = 1.0 - errors / np.where(spreads > 0.0, spreads, 1.0)
    return float(shares.mean())


SCORES: Mapping[TargetName, Callable[[Probabilities, Targets], float]] = {
    TargetName.CLASSES: accuracy,
    TargetName.LABELS: label_accuracy,
    TargetName.REGRESSION: explained_share,
}


class ScoreSums(Protocol):
    """What a score follows from, added up over parts of a table."""

    def add(self, predictions: Probabilities, targets: Targets) -> None:
        """Add a part, which has samples. Both are as for the functions of `SCORES`."""
        ...

    def score(self) -> float:
        """Return the score of all parts, of which there is at least one."""
        ...


class _Share:
    """The share of what is right."""

    def __init__(self, is_right: Callable[[Probabilities, Targets], npt.NDArray[np.bool_]]) -> None:
        self._is_right, self._right, self._all = is_right, 0, 0

    def add(self, predictions: Probabilities, targets: Targets) -> None:
        is_right = self._is_right(predictions, targets)
        self._right, self._all = self._right + int(is_right.sum()), self._all + is_right.size

    def score(self) -> float:
        return self._right / self._all


class _ExplainedShare:
    """R2. The spread of targets is merged as by Chan, Golub and LeVeque: no part is read twice."""

    def __init__(self) -> None:
        self._samples = 0
        self._mean = self._spread = self._error = np.zeros(1)

    def add(self, predictions: Probabilities, targets: Targets) -> None:
        mean = targets.mean(axis=0, dtype=np.float64)
        spread = np.square(targets - mean).sum(axis=0)
        samples = self._samples + len(targets)
        difference = mean - self._mean
        self._spread = self._spread + spread + np.square(difference) * (self._samples * len(targets) / samples)
        self._mean = self._mean + difference * (len(targets) / samples) if self._samples else mean
        self._error = self._error + np.square(targets.astype(np.float64) - predictions).sum(axis=0)
        self._samples = samples

    def score(self) -> float:
        return _explained(self._error, self._spread)


SCORE_SUMS: Mapping[TargetName, Callable[[], ScoreSums]] = {
    TargetName.CLASSES: lambda: _Share(_has_class),
    TargetName.LABELS: lambda: _Share(_has_label),
    TargetName.REGRESSION: _ExplainedShare,
}
