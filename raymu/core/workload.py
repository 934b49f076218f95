"""The predicted cost of each remedy of a shard, and of many shards over the workers at hand."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from raymu.core.records import Remedy, ShardLineage
from raymu.core.remedies import REMEDIES, RepairScope, training_passes
from raymu.core.repair_speed import PredictionInterval, RepairEffort, RepairSpeeds, TrainingSpeed
from raymu.core.run_shape import RunShape


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardWorkload:
    """Predicted cost of each remedy for one touched shard."""

    shard: int
    touched_samples: int
    """Number of samples to forget."""
    earliest_slice: int
    """Slice that retraining would start with: the minimum of the forget set's slices and the shard's debt."""
    retrain_fraction: float
    """Passes of retraining, as a fraction of training the whole shard on its retained samples."""
    passes: Mapping[Remedy, float]
    efforts: Mapping[Remedy, RepairEffort]
    speeds: RepairSpeeds
    possible: frozenset[Remedy]

    def __post_init__(self) -> None:
        if not 0.0 <= self.retrain_fraction <= 1.0:
            raise ValueError(f"shard {self.shard}: retrain_fraction {self.retrain_fraction} is not within [0, 1]")

    def seconds(self, remedy: Remedy) -> float:
        return self.speeds.of(remedy).seconds_of(self.efforts[remedy])

    def fixed_seconds(self, remedy: Remedy) -> float:
        """Return the part of a remedy's seconds that does not depend on its passes."""
        return self.speeds.of(remedy).fixed_seconds_of(self.efforts[remedy])

    def interval(self, remedy: Remedy) -> PredictionInterval:
        """Return the interval of a remedy's seconds, by the repairs so far."""
        return self.speeds.of(remedy).interval(self.efforts[remedy])


def shard_workload(
    lineage: ShardLineage,
    touched: Mapping[int, int],
    *,
    shape: RunShape,
    references: Sequence[int] = (),
    lost_from: int | None = None,
    speeds: RepairSpeeds | None = None,
) -> ShardWorkload:
    """Predict the remedies of one shard for a forget set.

    Args:
        lineage: The shard.
        touched: The forgotten samples of each slice; empty if the shard is retrained for another reason.
        shape: The run.
        references: Samples of each shard whose model a calibration aims at. Without any, a checkpoint stands in.
        lost_from: First stage whose files are missing or changed; None without any.
        speeds: What the run's repairs have shown; nothing by default.
    """
    others = (lineage.tainted_from, lineage.untrained_from, lost_from)
    starts = [*touched, *(start for start in others if start is not None)]
    scope = RepairScope(
        shape=shape,
        retained=[count - touched.get(slice_index, 0) for slice_index, count in enumerate(lineage.slice_samples)],
        forgotten=sum(touched.values()),
        earliest_slice=min(starts),
        sound_stages=next((stage for stage, ref in enumerate(lineage.checkpoints) if ref is None), lineage.slices),
        references=references,
    )
    training = TrainingSpeed(seconds_per_pass=lineage.seconds_per_pass, seconds_per_stage=lineage.seconds_per_stage)
    return workload_of(scope, shard=lineage.shard, training=training, speeds=speeds or RepairSpeeds())


def workload_of(scope: RepairScope, *, shard: int, training: TrainingSpeed, speeds: RepairSpeeds) -> ShardWorkload:
    """Evaluate every row of the table of remedies for a shard and a forget set."""
    passes = {remedy: float(rule.passes(scope)) for remedy, rule in REMEDIES.items()}
    whole = training_passes(scope.retained, scope.shape.epochs, stages=range(scope.slices))
    return ShardWorkload(
        shard=shard,
        touched_samples=round(scope.forgotten),
        earliest_slice=scope.earliest_slice,
        retrain_fraction=passes[Remedy.RETRAIN] / whole if whole else 0.0,
        passes=passes,
        efforts={remedy: repair_effort(remedy, scope, passes[remedy], training) for remedy in REMEDIES},
        speeds=speeds,
        possible=frozenset(remedy for remedy, rule in REMEDIES.items() if rule.is_possible(scope)),
    )


def repair_effort(remedy: Remedy, scope: RepairScope, passes: float, training: TrainingSpeed) -> RepairEffort:
    """Return the seconds of a repair of so many passes, by the speed of training."""
    rule = REMEDIES[remedy]
    return RepairEffort(
        fixed_s=rule.fixed_s + rule.stages(scope) * training.seconds_per_stage,
        passes_s=passes * training.seconds_per_pass,
    )


def settle_passes(lineages: Iterable[ShardLineage], epochs: Sequence[int]) -> int:
    """Sum the sample passes of retraining every patched shard. `epochs` are those of each stage."""
    return sum(
        int(training_passes(lineage.slice_samples, epochs, stages=range(lineage.tainted_from, lineage.slices)))
        for lineage in lineages
        if lineage.tainted_from is not None
    )


def makespan(seconds: Iterable[float], *, workers: int) -> float:
    """Return the seconds until every shard is done if the longest starts first (Graham, 1969: LPT).

    Args:
        seconds: Seconds of compute of each shard.
        workers: Shards that are repaired side by side.
    """
    works = sorted(seconds, reverse=True)
    busy_until = [0.0] * min(workers, max(1, len(works)))
    for work in works:
        heapq.heappush(busy_until, heapq.heappop(busy_until) + work)
    return max(busy_until)
