"""What traffic will cost a run that is not trained yet, on average: in closed form, or drawn where there is none.

A request names one sample. Requests come in groups: those of a group are served by one remedy per shard, and a group is
served before the next one comes. So 1 together is requests far apart, and all together is one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np
import numpy.typing as npt

from raymu.config.unlearning import Boundary, BoundaryKind, OhsRemedy, Strategy
from raymu.core.arrays import Floats
from raymu.core.partition import derive_seed
from raymu.core.planner import MOST_REFERENCES, StrategyForecast, forecast
from raymu.core.planning.shard_chain import ExpectedShardCost, LoneShardOdds, ShardOdds
from raymu.core.planning.simulated_shard import untrained_lineages
from raymu.core.records import ShardLineage
from raymu.core.workload import RunShape, ShardWorkload, fine_tuning_passes, shard_workload, subtraction_passes

DRAWS = 200
"""Groups that a makespan is the mean of."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A run that is not trained yet: its shards are alike."""

    shards: int
    slice_samples: tuple[float, ...]
    """Of each shard."""
    slice_prior: tuple[float, ...]
    """How probable it is that a request's sample lives in each slice."""
    shape: RunShape
    seconds_per_pass: float = 1.0

    def __post_init__(self) -> None:
        if self.shards < 1:
            raise ValueError(f"a run has a shard or more, not {self.shards}")
        if not len(self.slice_samples) == self.shape.slices == len(self.slice_prior):
            raise ValueError("slice_samples, slice_prior and the stages of the shape differ in number")

    @property
    def slices(self) -> int:
        return self.shape.slices

    @cached_property
    def references(self) -> tuple[float, ...]:
        """Samples of the shards whose models a calibration aims at."""
        return (sum(self.slice_samples),) * min(self.shards - 1, MOST_REFERENCES)

    @cached_property
    def retrain_passes(self) -> Floats:
        """Of one shard, from each slice on. returns: (slices + 1,) float64, the last one 0"""
        stages = np.array(self.shape.epochs) * np.cumsum(self.slice_samples)
        return np.append(np.cumsum(stages[::-1])[::-1], 0.0)

    def first_retrained(self, strategy: Strategy, boundary: Boundary) -> int:
        """The earliest slice that is within the boundary; as many as there are slices where none is.

        Raises ValueError for a deadline, which depends on the other shards of a group.
        """
        match strategy:
            case Strategy.SISA:
                return 0
            case Strategy.DPUS:
                return self.slices
        if boundary.kind is BoundaryKind.DEADLINE:
            raise ValueError(f"boundary {boundary} has no closed form; draw its forecast")
        unit = self.retrain_passes[0] if boundary.kind is BoundaryKind.FRACTION else 1.0 / self.seconds_per_pass
        return int(np.argmax(self.retrain_passes <= boundary.value * unit))

    def boundary_retraining_from(self, slice_index: int) -> float:
        """A boundary that is sure to retrain from this slice on and to patch before: half way between the two.

        slice_index: 0 retrains always, as many as there are slices never
        """
        fractions = self.retrain_passes / self.retrain_passes[0]
        if slice_index in (0, self.slices):
            return float(fractions[slice_index])
        return float(fractions[slice_index - 1 : slice_index + 1].mean())


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedCost:
    """Means over all traces of some traffic."""

    passes: float
    remedies: float
    patched: float
    """Remedies that leave an approximate state."""
    debt_shards: float
    """Shards that settling would retrain in the end, and the sample passes that it would take."""
    debt_passes: float

    @property
    def approximate_share(self) -> float:
        """Of the states that remedies leave."""
        return self.patched / self.remedies


def expected_cost(
    prospect: Layout, strategy: Strategy, boundary: Boundary, *, requests: int, together: int = 1
) -> ExpectedCost:
    """The mean cost of so many requests, in groups of `together`. Raises ValueError for a deadline of a group.

    A shard whose debt reaches below the boundary is never retrained again: so it is retrained until the first request
    that it patches, and patched from then on. Only a single shard, with no other to calibrate by, is retrained at times.
    """
    if boundary.kind is BoundaryKind.DEADLINE and together == 1:  # of one shard's retraining
        boundary = Boundary(kind=BoundaryKind.SECONDS, value=boundary.value)
    first = prospect.first_retrained(strategy, boundary)
    if strategy is Strategy.OHS and prospect.shape.unlearning.ohs.remedy is OhsRemedy.REPLAY:
        first = min(first, _first_cheaper_than_replay(prospect, together))
    fate = _fate(prospect, first, sizes=np.diff(np.append(np.arange(0, requests, together), requests)))
    passes = fate.retrained_passes + _patched_passes(prospect, fate, strategy)
    return ExpectedCost(
        passes=prospect.shards * passes,
        remedies=prospect.shards * fate.remedies,
        patched=prospect.shards * (fate.patched_first + fate.patched_later),
        debt_shards=prospect.shards * fate.owes,
        debt_passes=prospect.shards * fate.owed_passes,
    )


def _fate(prospect: Layout, first: int, *, sizes: npt.NDArray[np.int64]) -> ExpectedShardCost:
    """sizes: of the groups, in requests"""
    is_alone = prospect.shape.unlearning.calibration and not prospect.references
    return (LoneShardOdds if is_alone else ShardOdds)(
        slice_samples=prospect.slice_samples,
        epochs=prospect.shape.epochs,
        hit=np.array(prospect.slice_prior) / prospect.shards,
        first=first,
        sizes=sizes,
    ).fate()


def sampled_forecasts(
    prospect: Layout, boundary: Boundary, *, together: int, workers: int, draws: int = DRAWS, seed: int = 0
) -> dict[Strategy, StrategyForecast]:
    """The mean forecast of one group, for a run without debt: with its makespan, and whatever the boundary."""
    samples = [round(count) for count in prospect.slice_samples]
    lineages = untrained_lineages([samples] * prospect.shards, seconds_per_pass=prospect.seconds_per_pass)
    chances = np.tile(np.array(prospect.slice_prior) / prospect.shards, prospect.shards)
    random = np.random.default_rng(derive_seed(seed, "groups"))
    named = random.multinomial(together, chances / chances.sum(), size=draws)
    costs = [
        forecast(
            _workloads(prospect, lineages, group), boundary=boundary, workers=workers, ohs=prospect.shape.unlearning.ohs
        )
        for group in named.reshape(draws, prospect.shards, prospect.slices)
    ]
    return {
        strategy: StrategyForecast(
            passes=fmean(cost[strategy].passes for cost in costs),
            seconds=fmean(cost[strategy].seconds for cost in costs),
            makespan_seconds=fmean(cost[strategy].makespan_seconds for cost in costs),
        )
        for strategy in Strategy
    }


def _workloads(prospect: Layout, lineages: Sequence[ShardLineage], group: npt.NDArray[np.int64]) -> list[ShardWorkload]:
    """group: (shards, slices) int64, samples named"""
    return [
        shard_workload(
            lineages[shard],
            {
                place: min(int(count), lineages[shard].slice_samples[place])
                for place, count in enumerate(counts)
                if count
            },
            shape=prospect.shape,
            references=[round(samples) for samples in prospect.references],
        )
        for shard, counts in enumerate(group)
        if counts.any()
    ]


def _patched_passes(prospect: Layout, fate: ExpectedShardCost, strategy: Strategy) -> float:
    """Of one shard, by the same rules as a single forecast: they are linear in the samples."""
    ohs, slices = prospect.shape.unlearning.ohs, prospect.slices
    retained = fate.retained_first + fate.retained_later
    statistics = float(retained.sum()) if prospect.shape.has_batch_norm else 0.0
    patch, again = subtraction_passes(
        fate.named, statistics, len(prospect.references), is_calibrated=prospect.shape.unlearning.calibration
    )
    if strategy is not Strategy.OHS:
        return patch
    tail, passes = slice(slices - ohs.slices, slices), patch + again
    if ohs.remedy == "replay":
        for stage in range(slices)[tail]:
            passes += prospect.shape.epochs[stage] * float(fate.retained_first[: stage + 1].sum())
        tuned, remedies = float(fate.retained_later[tail].sum()), fate.patched_later
    else:
        tuned, remedies = float(retained[tail].sum()), fate.patched_first + fate.patched_later
    if not remedies:
        return passes
    return passes + remedies * fine_tuning_passes(tuned / remedies, prospect.references, epochs=ohs.epochs)


def _first_cheaper_than_replay(prospect: Layout, together: int) -> int:
    """The earliest slice from which retraining costs no more than a replay, for the usual forget set of a group."""
    slices, shards = prospect.slices, prospect.shards
    named = together / shards / (1.0 - (1.0 - 1.0 / shards) ** together)
    statistics = sum(prospect.slice_samples) if prospect.shape.has_batch_norm else 0.0
    patch = subtraction_passes(
        named, statistics, len(prospect.references), is_calibrated=prospect.shape.unlearning.calibration
    )
    replay = sum(patch) + prospect.retrain_passes[slices - prospect.shape.unlearning.ohs.slices]
    return int(np.argmax(prospect.retrain_passes <= replay))
