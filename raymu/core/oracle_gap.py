"""What a model says of the test set and of a forget set, and how far that is from what the retrained oracle says."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Labels, Probabilities

_LEAST = float(np.finfo(np.float32).tiny)
"""A probability is no less, so that every loss is finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleGap:
    """From the oracle.

    equal_answers: share of the test set; probability: mean distance of the forgotten samples' true labels' probabilities
    under, over: mean nats by which the forgotten samples' losses are below the oracle's, and above it
    """

    equal_answers: float
    probability: float
    under: float
    over: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PredictionSummary:
    """test: (test samples,) int64 labels; forget: (forgotten,) float64 probabilities of the true labels"""

    test: Labels
    test_accuracy: float
    forget: npt.NDArray[np.float64]
    forget_accuracy: float

    @classmethod
    def of(
        cls, *, test: Probabilities, test_labels: Labels, forget: Probabilities, forget_labels: Labels
    ) -> "PredictionSummary":
        """test, forget: (samples, classes) float32"""
        answers = test.argmax(axis=1)
        return cls(
            test=answers,
            test_accuracy=float((answers == test_labels).mean()),
            forget=forget[np.arange(len(forget)), forget_labels].astype(np.float64),
            forget_accuracy=float((forget.argmax(axis=1) == forget_labels).mean()),
        )

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """Of the forgotten samples, in nats."""
        return -np.log(np.maximum(self.forget, _LEAST))

    @property
    def forget_loss(self) -> float:
        """Mean cross-entropy in nats."""
        return float(self.losses.mean())

    def distance(self, oracle: "PredictionSummary") -> OracleGap:
        """oracle: about the same samples"""
        gaps = self.losses - oracle.losses
        return OracleGap(
            equal_answers=float((self.test == oracle.test).mean()),
            probability=float(np.abs(self.forget - oracle.forget).mean()),
            under=float(np.maximum(-gaps, 0.0).mean()),
            over=float(np.maximum(gaps, 0.0).mean()),
        )
