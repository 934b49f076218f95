"""The retrained oracles of a search: trained once, and kept in a file of its folder."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from raymu.core.forgetting_error import ForgettingError, RetrainedConfidences
from raymu.core.oracle_gap import PredictionSummary
from raymu.output_file import atomic_write


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeasuredModel:
    """A model, measured beside the oracles."""

    predictions: PredictionSummary
    """Of the ensemble."""
    error: ForgettingError
    """Of the shards that held the forgotten samples."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RetrainedOracles:
    """What retrained oracles predict."""

    own_seed: PredictionSummary
    """The run with every touched shard retrained without the forget set."""
    other_seeds: tuple[PredictionSummary, ...]
    """The same, with the touched shards retrained with other seeds."""
    confidences: RetrainedConfidences
    """By the touched shards alone, in the order of `other_seeds`."""

    @property
    def own(self) -> MeasuredModel:
        """The oracle with the run's seed. Its KLoM error is near 1: it is one retraining among others."""
        return MeasuredModel(predictions=self.own_seed, error=self.confidences.error_of(self.confidences.own_seed))

    @property
    def others(self) -> tuple[MeasuredModel, ...]:
        """The oracles with other seeds, which are at the floor by definition."""
        at_floor = ForgettingError(klom=1.0, paired=1.0)
        return tuple(MeasuredModel(predictions=summary, error=at_floor) for summary in self.other_seeds)

    def save(self, path: Path) -> None:
        """Write a file."""
        arrays: dict[str, Any] = {
            field.name: np.stack([np.asarray(getattr(summary, field.name)) for summary in self._summaries])
            for field in fields(PredictionSummary)
        }
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                **arrays,
                own_confidences=self.confidences.own_seed,
                other_confidences=self.confidences.other_seeds,
            )

    @classmethod
    def load(cls, path: Path) -> "RetrainedOracles":
        """Read a file that `save` wrote."""
        arrays = np.load(path)
        own_seed, *other_seeds = (
            PredictionSummary(
                test=arrays["test"][number],
                test_accuracy=float(arrays["test_accuracy"][number]),
                forget=arrays["forget"][number],
                forget_accuracy=float(arrays["forget_accuracy"][number]),
            )
            for number in range(len(arrays["test"]))
        )
        return cls(
            own_seed=own_seed,
            other_seeds=tuple(other_seeds),
            confidences=RetrainedConfidences(
                own_seed=arrays["own_confidences"], other_seeds=arrays["other_confidences"]
            ),
        )

    @property
    def _summaries(self) -> Sequence[PredictionSummary]:
        return (self.own_seed, *self.other_seeds)
