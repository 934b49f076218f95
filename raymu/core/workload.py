"""What each remedy of a shard would cost. The unit is a sample pass: one sample forward, backward and in a step."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from raymu.config import UnlearningConfig
from raymu.config.stage_epochs import epochs_per_stage
from raymu.core.records import Remedy, ShardLineage

if TYPE_CHECKING:
    from raymu.config import Config

FORWARD_SHARE = 1 / 3
"""A forward pass alone, as a share of a sample pass (a backward pass costs about two forward passes)."""
LINE_SEARCH_EVALUATIONS = 16
"""Evaluations of the forget set's loss that a calibration takes, typically; two where the loss is at its aim already."""
STATISTICS_RECOMPUTED = 9
"""How often a calibration recomputes batch-norm statistics, typically; once where the loss is at its aim already."""
MOST_UNSEEN = 512
"""How many unseen samples tell fine-tuning when to stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunShape:
    """What the cost of a remedy depends on besides the shard itself."""

    unlearning: UnlearningConfig
    epochs: tuple[int, ...]
    """Epochs of each stage."""
    has_batch_norm: bool = False
    """Whether the model has batch-norm layers, whose statistics a patch computes anew."""

    @classmethod
    def of(cls, config: "Config", *, has_batch_norm: bool = False) -> Self:
        """Derive the shape of a run from its configuration."""
        epochs = epochs_per_stage(config.training.epochs, config.partition.slices)
        return cls(unlearning=config.unlearning, epochs=epochs, has_batch_norm=has_batch_norm)

    @property
    def slices(self) -> int:
        return len(self.epochs)


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
    can_patch: bool
    """Whether there is a model that never saw the samples, which a calibration aims at, or none is needed."""
    can_replay: bool
    """Whether the checkpoint that a replay would patch is still there."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.retrain_fraction <= 1.0:
            raise ValueError(f"shard {self.shard}: retrain_fraction {self.retrain_fraction} is not within [0, 1]")

    def seconds(self, remedy: Remedy) -> float:
        return self.passes[remedy] * self.seconds_per_pass


def training_passes(slice_samples: Sequence[int], epochs: Sequence[int], *, stages: Iterable[int]) -> int:
    """Sum over the stages j of e_j * |slices 0..j| (SISA, Bourtoule et al. 2021)."""
    return sum(epochs[stage] * sum(slice_samples[: stage + 1]) for stage in stages)


def settle_passes(lineages: Iterable[ShardLineage], epochs: Sequence[int]) -> int:
    """What retraining every shard that is only patched would take. epochs: of each stage"""
    return sum(
        training_passes(lineage.slice_samples, epochs, stages=range(lineage.tainted_from, lineage.slices))
        for lineage in lineages
        if lineage.tainted_from is not None
    )


def subtraction_passes(
    samples: float, statistics: float, references: int, *, is_calibrated: bool
) -> tuple[float, float]:
    """What a patch takes, and what it takes again after training, where little is left to search for.

    samples: to forget; statistics: retained samples that batch norm has its statistics from, 0 without batch norm
    """
    if not is_calibrated:
        return samples + (samples + statistics) * FORWARD_SHARE, samples * FORWARD_SHARE
    unseen = max(1, references) * samples
    search = LINE_SEARCH_EVALUATIONS * samples + STATISTICS_RECOMPUTED * statistics
    return samples + (unseen + search) * FORWARD_SHARE, samples + (2 * samples + statistics) * FORWARD_SHARE


def fine_tuning_passes(tail: float, references: Sequence[float], *, epochs: int) -> float:
    """All epochs, each judged by unseen samples; one where there are none. tail: samples that are trained on"""
    if not references:
        return float(tail)
    return epochs * tail + (epochs + 1) * min(references[0], MOST_UNSEEN) * FORWARD_SHARE


def shard_workload(
    lineage: ShardLineage,
    touched: Mapping[int, int],
    *,
    shape: RunShape,
    references: Sequence[int] = (),
    lost_from: int | None = None,
) -> ShardWorkload:
    """Predict the remedies of one shard for a forget set.

    Args:
        lineage: The shard.
        touched: The forgotten samples of each slice; empty if the shard is retrained for another reason.
        shape: The run.
        references: Samples of each shard whose model a calibration aims at. Without any, a checkpoint stands in.
        lost_from: First stage whose files are missing or changed; None without any.
    """
    config, epochs = shape.unlearning, shape.epochs
    slices = lineage.slices
    retained = [count - touched.get(position, 0) for position, count in enumerate(lineage.slice_samples)]
    starts = [*touched, *(one for one in (lineage.tainted_from, lost_from) if one is not None)]
    earliest = min(starts)
    retrain = training_passes(retained, epochs, stages=range(earliest, slices))
    whole = training_passes(retained, epochs, stages=range(slices))
    samples = sum(touched.values())
    statistics = sum(retained) if shape.has_batch_norm else 0
    patch, again = subtraction_passes(samples, statistics, len(references), is_calibrated=config.calibration)
    fine_tune = fine_tuning_passes(sum(retained[slices - config.ohs.slices :]), references, epochs=config.ohs.epochs)
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
            Remedy.FINE_TUNE: patch + fine_tune + again,
            Remedy.REPLAY: patch + replay + again,
        },
        seconds_per_pass=lineage.seconds_per_pass,
        can_patch=not config.calibration or bool(references) or any(lineage.slice_samples[:earliest]),
        can_replay=base >= 0 and lineage.checkpoints[base] is not None,
    )


def makespan(seconds: Iterable[float], *, workers: int) -> float:
    """Time until all are done when the longest starts first (Graham, 1969: LPT). seconds: of each shard"""
    works = sorted(seconds, reverse=True)
    busy_until = [0.0] * min(workers, max(1, len(works)))
    for work in works:
        heapq.heappush(busy_until, heapq.heappop(busy_until) + work)
    return max(busy_until)


def update_seconds_per_pass(before: float, *, whole_passes: float, passes: float, seconds: float) -> float:
    """A shard's seconds per pass after another training: all earlier ones weigh as much as one of the whole shard."""
    if not passes:
        return before
    return (before * whole_passes + seconds) / (whole_passes + passes)
