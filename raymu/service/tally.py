"""What an evaluation follows from, added up batch by batch: no vote is kept."""

from collections.abc import Sequence

import numpy as np

from raymu.config import TargetName
from raymu.core.arrays import Probabilities, Targets
from raymu.core.scores import SCORE_SUMS
from raymu.data.classes import ClassTable
from raymu.service.metrics import Metrics, metrics_of


class Tally:
    """The scores of an ensemble and of its constituents, and what its metrics are computed from.

    Metrics such as ROC AUC need all predictions at once: those of the ensemble are kept for them, in float32, and the
    targets. Those of constituents are not.
    """

    def __init__(self, target: TargetName, *, voters: int, has_metrics: bool) -> None:
        """Begin with no samples.

        Args:
            target: What the run predicts.
            voters: Constituents that vote.
            has_metrics: Whether metrics will be computed.
        """
        self._target, self._has_metrics = target, has_metrics
        self._together = SCORE_SUMS[target]()
        self._alone = [SCORE_SUMS[target]() for _ in range(voters)]
        self._predictions: list[Probabilities] = []
        self._targets: list[Targets] = []
        self.samples = 0

    def add(self, votes: Probabilities, together: Probabilities, targets: Targets) -> None:
        """Add a batch.

        Args:
            votes: (voters, samples, outputs) float32.
            together: (samples, outputs) float32, what they predict together.
            targets: (samples,) int64, or (samples, outputs) float32.
        """
        self.samples += len(targets)
        self._together.add(together, targets)
        for sums, predictions in zip(self._alone, votes, strict=True):
            sums.add(predictions, targets)
        if self._has_metrics:
            self._predictions.append(together)
            self._targets.append(targets)

    def score(self) -> float:
        """Return the score of the ensemble."""
        return self._together.score()

    def scores_alone(self) -> Sequence[float]:
        """Return the score of each constituent."""
        return [sums.score() for sums in self._alone]

    def metrics(self, classes: ClassTable) -> Metrics:
        """Compute the metrics of the ensemble; none if they were not asked for."""
        if not self._has_metrics:
            return {}
        return metrics_of(np.concatenate(self._predictions), np.concatenate(self._targets), self._target, classes)
