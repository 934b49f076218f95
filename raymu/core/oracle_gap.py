"""Compares a model's predictions on the test set and a forget set with those of the retrained oracle."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Labels, Probabilities

_LEAST = float(np.finfo(np.float32).tiny)
"""Lower bound of a probability, so that every loss is finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleGap:
    """Difference of a model's predictions from the oracle's."""

    equal_answers: float
    """Share of the test set that both predict alike."""
    probability: float
    """Mean absolute difference of the probability of the true label, over the forgotten samples."""
    under: float
    """Mean nats by which the losses of the forgotten samples are below the oracle's: they are still remembered."""
    over: float
    """Mean nats by which they are above the oracle's: they are over-forgotten."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PredictionSummary:
    """A model's predictions, as far as they are compared."""

    test: Labels
    """(test samples,) int64 predicted labels."""
    test_accuracy: float
    forget: npt.NDArray[np.float64]
    """(forgotten samples,) float64 probabilities of the true labels."""
    forget_accuracy: float

    @classmethod
    def of(
        cls, *, test: Probabilities, test_labels: Labels, forget: Probabilities, forget_labels: Labels
    ) -> "PredictionSummary":
        """Summarize the probabilities of a test set and a forget set, each (samples, classes) float32."""
        labels = test.argmax(axis=1)
        return cls(
            test=labels,
            test_accuracy=float((labels == test_labels).mean()),
            forget=forget[np.arange(len(forget)), forget_labels].astype(np.float64),
            forget_accuracy=float((forget.argmax(axis=1) == forget_labels).mean()),
        )

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """(forgotten samples,) cross-entropy in nats."""
        return -np.log(np.maximum(self.forget, _LEAST))

    @property
    def forget_loss(self) -> float:
        """Mean cross-entropy of the forgotten samples in nats."""
        return float(self.losses.mean())

    def distance(self, oracle: "PredictionSummary") -> OracleGap:
        """Compare with the oracle's predictions on the same samples."""
        gaps = self.losses - oracle.losses
        return OracleGap(
            equal_answers=float((self.test == oracle.test).mean()),
            probability=float(np.abs(self.forget - oracle.forget).mean()),
            under=float(np.maximum(-gaps, 0.0).mean()),
            over=float(np.maximum(gaps, 0.0).mean()),
        )
