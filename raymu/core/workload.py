"""What each remedy of a shard would cost. The unit is a sample pass: one sample forward, backward and in a step."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from raymu.config import UnlearningConfig
from raymu.core.records import Remedy, ShardLineage

FORWARD_SHARE = 1 / 3
"""A forward pass alone, as a share of a sample pass (a backward pass costs about two forward passes)."""
LINE_SEARCH_EVALUATIONS = 16
"""Evaluations of the forget set's loss that a calibration takes, typically."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardWorkload:
    """Predicted cost of each remedy for one touched shard."""

    shard: int
    touched_samples: int
    earliest_slice: int
    """Where retraining would start: the minimum of the forget set's slices and the shard's debt."""
    retrain_fraction: float
    """Of the passes that training the whole shard on its retained samples takes."""
    passes: Mapping[Remedy, float]
    seconds_per_pass: float
    can_replay: bool
    """Whether the checkpoint that a replay would patch is still there."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.retrain_fraction <= 1.0:
            raise ValueError(f"shard {self.shard}: retrain_fraction {self.retrain_fraction} is not within [0, 1]")

    def seconds(self, remedy: Remedy) -> float:
        return self.passes[remedy] * self.seconds_per_pass


def training_passes(slice_samples: Sequence[int], epochs: Sequence[int], *, stages: Iterable[int]) -> int:
    """Sum over the stages j of e_j * |slices 0..j| (DESIGN section 3, SISA)."""
    return sum(epochs[stage] * sum(slice_samples[: stage + 1]) for stage in stages)


def calibration_passes(samples: int) -> float:
    """One gradient of the forget set and the line search's evaluations."""
    return samples * (1 + LINE_SEARCH_EVALUATIONS * FORWARD_SHARE)


def shard_workload(
    lineage: ShardLineage, touched: Mapping[int, int], *, epochs: Sequence[int], config: UnlearningConfig
) -> ShardWorkload:
    """Predict the remedies of one shard for a forget set.

    touched: slice -> forgotten samples; empty where only debt is to be settled
    epochs: of each stage
    """
    slices = lineage.slices
    retained = [count - touched.get(position, 0) for position, count in enumerate(lineage.slice_samples)]
    starts = [*touched, *([] if lineage.tainted_from is None else [lineage.tainted_from])]
    earliest = min(starts)
    retrain = training_passes(retained, epochs, stages=range(earliest, slices))
    whole = training_passes(retained, epochs, stages=range(slices))
    samples = sum(touched.values())
    patch = calibration_passes(samples) if config.calibration else float(samples)
    fine_tune = config.ohs.epochs * sum(retained[slices - config.ohs.slices :])
    replay = training_passes(retained, epochs, stages=range(slices - config.ohs.slices, slices))
    base = slices - 1 - config.ohs.slices
    return ShardWorkload(
        shard=lineage.shard,
        touched_samples=samples,
        earliest_slice=earliest,
        retrain_fraction=retrain / whole if whole else 0.0,
        passes={
            Remedy.RETRAIN: float(retrain),
            Remedy.PATCH: patch,
            Remedy.FINE_TUNE: 2 * patch + fine_tune,
            Remedy.REPLAY: 2 * patch + replay,
        },
        seconds_per_pass=lineage.seconds_per_pass,
        can_replay=base >= 0 and lineage.checkpoints[base] is not None,
    )


def makespan(seconds: Iterable[float], *, workers: int) -> float:
    """Time until all are done when the longest starts first (Graham, 1969: LPT). seconds: of each shard"""
    busy_until = [0.0] * workers
    for work in sorted(seconds, reverse=True):
        heapq.heappush(busy_until, heapq.heappop(busy_until) + work)
    return max(busy_until)
