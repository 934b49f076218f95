"""The mean cost of traffic on a run that is not trained yet: in closed form, or sampled if no closed form exists.

A request names one sample. Requests come in groups: a group is served by one repair of each shard that it touches, and a
group is served before the next one comes. `together=1` models well-separated requests, `together=N` a single batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import fmean

import numpy as np
import numpy.typing as npt

from raymu.config.unlearning import Boundary, BoundaryKind, Strategy
from raymu.core.partition import derive_seed
from raymu.core.planner import MOST_REFERENCES, StrategyForecast, choose_remedies, forecast
from raymu.core.planning.shard_chain import ExpectedRepairs, ShardChain
from raymu.core.planning.simulated_shard import untrained_lineages
from raymu.core.records import Cost, Remedy, ShardLineage
from raymu.core.remedies import REMEDIES, RepairScope
from raymu.core.repair_speed import RepairSpeeds, TrainingSpeed
from raymu.core.run_shape import RunShape
from raymu.core.workload import ShardWorkload, shard_workload, workload_of

DRAWS = 200
"""Number of groups that a mean makespan is sampled from."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A run that is not trained yet and whose shards are alike."""

    shards: int
    slice_samples: tuple[float, ...]
    """Samples of each slice of a shard."""
    slice_prior: tuple[float, ...]
    """Probability that a request's sample is in each slice."""
    shape: RunShape
    seconds_per_pass: float = 1.0
    seconds_per_stage: float = 0.0
    """Seconds of a stage beyond those of its passes."""

    def __post_init__(self) -> None:
        if self.shards < 1:
            raise ValueError(f"a run has a shard or more, not {self.shards}")
        if not len(self.slice_samples) == self.shape.slices == len(self.slice_prior):
            raise ValueError("slice_samples, slice_prior and the stages of the shape differ in number")

    @property
    def slices(self) -> int:
        return self.shape.slices

    @property
    def speed(self) -> TrainingSpeed:
        return TrainingSpeed(seconds_per_pass=self.seconds_per_pass, seconds_per_stage=self.seconds_per_stage)

    @cached_property
    def references(self) -> tuple[float, ...]:
        """Samples of the shards whose models a calibration aims at."""
        return (sum(self.slice_samples),) * min(self.shards - 1, MOST_REFERENCES)

    def boundary_retraining_from(self, slice_index: int) -> float:
        """Return a boundary that retrains from this slice on and patches before it, half-way between the two costs.

        Args:
            slice_index: Index from 0, which always retrains, to the number of slices, which never does.
        """
        stages = np.array(self.shape.epochs) * np.cumsum(self.slice_samples)
        passes = np.append(np.cumsum(stages[::-1])[::-1], 0.0)  # (slices + 1,) of retraining from each slice on
        fractions = passes / passes[0]
        if slice_index in (0, self.slices):
            return float(fractions[slice_index])
        return float(fractions[slice_index - 1 : slice_index + 1].mean())

    def scope(self, earliest_slice: int, owed: int, *, retained: Sequence[float], forgotten: float) -> RepairScope:
        """Describe a repair of a shard.

        Args:
            earliest_slice: First slice of a sample to forget, or what the shard owes, if that is earlier.
            owed: Earliest slice that the shard owes; the number of slices if it owes nothing.
            retained: Samples of each slice.
            forgotten: Samples to forget.
        """
        return RepairScope(
            shape=self.shape,
            retained=retained,
            forgotten=forgotten,
            earliest_slice=earliest_slice,
            sound_stages=owed,
            references=self.references,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedCost:
    """Means over all traces of some traffic."""

    passes: float
    seconds: float
    """Seconds of compute."""
    remedies: float
    patched: float
    """Remedies that leave an approximate state."""
    patched_requests: float
    """Share of the requests that are patched, when their repair is done."""
    debt_shards: float
    """Shards that settling would retrain in the end."""
    debt_passes: float
    """Sample passes of settling them."""

    @property
    def approximate_share(self) -> float:
        """Share of the states that remedies leave."""
        return self.patched / self.remedies

    def forgetting_error(self, patch_error: float) -> float:
        """Return the mean over the requests, each when its repair is done: `patch_error` after a patch, 0 if it is exact."""
        return self.patched_requests * patch_error


Rule = tuple[Strategy, Boundary]


def expected_cost(
    layout: Layout, strategy: Strategy, boundary: Boundary, *, requests: int, together: int = 1
) -> ExpectedCost:
    """Compute the mean cost of a number of requests that come in groups of `together`.

    Raises ValueError for a deadline of a group, which depends on the other shards of the group.
    """
    [cost] = expected_costs(layout, [(strategy, boundary)], requests=requests, together=together)
    return cost


def expected_costs(layout: Layout, rules: Sequence[Rule], *, requests: int, together: int = 1) -> list[ExpectedCost]:
    """Compute the mean cost of a number of requests with each of several rules, in one pass. See `expected_cost`."""
    model = _CostModel(layout, rules, together=together)
    groups, rest = divmod(requests, together)
    for size in (*[together] * groups, *([rest] if rest else [])):
        model.serve(size)
    return model.costs()


def expected_curve(layout: Layout, rules: Sequence[Rule], *, counts: Sequence[int]) -> list[list[ExpectedCost]]:
    """Compute the mean cost of several numbers of well-separated requests, in one pass.

    Args:
        layout: The run.
        rules: Strategies with their hybrid boundaries.
        counts: Numbers of requests, ascending.

    Returns:
        For each number of requests, the cost with each rule.
    """
    model, costs, served = _CostModel(layout, rules, together=1), [], 0
    for count in counts:
        for _ in range(count - served):
            model.serve(1)
        served = count
        costs.append(model.costs())
    return costs


def remedy_table(layout: Layout, strategy: Strategy, boundary: Boundary, *, together: int) -> list[list[Remedy]]:
    """Ask the planner for the remedy of a shard with its samples at first and a typical forget set of a group.

    Returns:
        The remedy, by what the shard owes (the number of slices if it owes nothing) and by the group's earliest slice.

    Raises ValueError for a deadline of a group.
    """
    if boundary.kind is BoundaryKind.DEADLINE and strategy in (Strategy.HS, Strategy.OHS):
        if together > 1:
            raise ValueError(f"boundary {boundary} has no closed form; use sampled_forecasts")
        boundary = Boundary(kind=BoundaryKind.SECONDS, value=boundary.value)  # of one shard's retraining
    slices = layout.slices
    workloads = _typical_workloads(layout, together)
    decisions = choose_remedies(
        list(workloads.values()), strategy=strategy, boundary=boundary, workers=1, ohs=layout.shape.unlearning.ohs
    )
    remedies = {case: decisions[workload.shard].remedy for case, workload in workloads.items()}
    return [[remedies[min(owed, earliest), owed] for earliest in range(slices)] for owed in range(slices + 1)]


@lru_cache(maxsize=64)
def _typical_workloads(layout: Layout, together: int) -> Mapping[tuple[int, int], ShardWorkload]:
    """Return the workload of each case, by the slice that a repair starts from and the shard's debt."""
    # The mean number of samples that a group names in a shard, given that it names any.
    forgotten = together / layout.shards / (1.0 - (1.0 - 1.0 / layout.shards) ** together)
    slices = layout.slices
    cases = [(start, owed) for owed in range(slices + 1) for start in range(min(owed + 1, slices))]
    return {
        (start, owed): workload_of(
            layout.scope(start, owed, retained=layout.slice_samples, forgotten=forgotten),
            shard=number,
            training=layout.speed,
            speeds=RepairSpeeds(),
        )
        for number, (start, owed) in enumerate(cases)
    }


class _CostModel:
    """The mean cost of traffic, with several rules side by side."""

    def __init__(self, layout: Layout, rules: Sequence[Rule], *, together: int) -> None:
        self._layout = layout
        self._tables = [remedy_table(layout, strategy, boundary, together=together) for strategy, boundary in rules]
        is_exact = [[[REMEDIES[remedy].is_exact for remedy in row] for row in table] for table in self._tables]
        hit = np.array(layout.slice_prior) / layout.shards
        self._chain = ShardChain(hit, np.array(layout.slice_samples), np.array(is_exact))

    def serve(self, size: int) -> None:
        self._chain.serve(size)

    def costs(self) -> list[ExpectedCost]:
        """Return the cost of everything that was served so far, with each rule."""
        expected = self._chain.expected()
        return [self._cost(table, expected, index) for index, table in enumerate(self._tables)]

    def _cost(self, table: list[list[Remedy]], expected: ExpectedRepairs, index: int) -> ExpectedCost:
        layout, slices = self._layout, self._layout.slices
        repairs, named, owes = expected.repairs[index], expected.named[index], expected.owes[index]
        is_patched = np.array([[not REMEDIES[remedy].is_exact for remedy in row] for row in table])
        stages = np.array(layout.shape.epochs) * expected.left[index].cumsum(axis=1)  # (owed, stage) sample passes
        cost = self._repair_cost(table, expected, index)
        return ExpectedCost(
            passes=layout.shards * cost.passes,
            seconds=layout.shards * cost.seconds,
            remedies=layout.shards * float(repairs.sum()),
            patched=layout.shards * float(repairs[is_patched].sum()),
            patched_requests=float(named[is_patched].sum() / named.sum()),
            debt_shards=layout.shards * float(owes[:slices].sum()),
            debt_passes=layout.shards * float(np.triu(stages[:slices]).sum()),
        )

    def _repair_cost(self, table: list[list[Remedy]], expected: ExpectedRepairs, index: int) -> Cost:
        """Cost of one shard's repairs: for each remedy and start, their number times the cost of their mean."""
        layout, slices = self._layout, self._layout.slices
        start = np.minimum(np.arange(slices + 1)[:, None], np.arange(slices))
        remedies = np.array(table)
        passes = seconds = 0.0
        for remedy in sorted({remedy for row in table for remedy in row}):
            for first in range(slices):
                cases = (remedies == remedy) & (start == first)
                repairs = float(expected.repairs[index][cases].sum())
                if repairs > 0.0:
                    retained = expected.retained[index][cases].sum(axis=0) / repairs
                    forgotten = float(expected.named[index][cases].sum()) / repairs
                    scope = layout.scope(first, slices, retained=retained.tolist(), forgotten=forgotten)
                    mean = workload_of(scope, shard=0, training=layout.speed, speeds=RepairSpeeds())
                    passes += repairs * mean.passes[remedy]
                    seconds += repairs * mean.seconds(remedy)
        return Cost(passes=passes, seconds=seconds)


def sampled_forecasts(
    layout: Layout, boundary: Boundary, *, together: int, workers: int, draws: int = DRAWS, seed: int = 0
) -> dict[Strategy, StrategyForecast]:
    """Sample the mean forecast of one group for a run without debt: with its makespan, and for any kind of boundary.

    Args:
        layout: The run.
        boundary: The hybrid boundary of `hs` and `ohs`.
        together: Requests of the group.
        workers: Shards that are repaired side by side.
        draws: Number of groups to sample.
        seed: Seed of the samples.
    """
    samples = [round(count) for count in layout.slice_samples]
    lineages = untrained_lineages(
        [samples] * layout.shards,
        seconds_per_pass=layout.seconds_per_pass,
        seconds_per_stage=layout.seconds_per_stage,
    )
    chances = np.tile(np.array(layout.slice_prior) / layout.shards, layout.shards)
    random = np.random.default_rng(derive_seed(seed, "groups"))
    groups = random.multinomial(together, chances / chances.sum(), size=draws)
    costs = [
        forecast(
            _workloads(layout, lineages, group), boundary=boundary, workers=workers, ohs=layout.shape.unlearning.ohs
        )
        for group in groups.reshape(draws, layout.shards, layout.slices)
    ]
    return {
        strategy: StrategyForecast(
            passes=fmean(cost[strategy].passes for cost in costs),
            seconds=fmean(cost[strategy].seconds for cost in costs),
            makespan_seconds=fmean(cost[strategy].makespan_seconds for cost in costs),
        )
        for strategy in Strategy
    }


def _workloads(layout: Layout, lineages: Sequence[ShardLineage], group: npt.NDArray[np.int64]) -> list[ShardWorkload]:
    """Predict the remedies of a group. `group` is (shards, slices) int64, the number of samples that it names."""
    return [
        shard_workload(
            lineages[shard],
            {
                slice_index: min(int(count), lineages[shard].slice_samples[slice_index])
                for slice_index, count in enumerate(counts)
                if count
            },
            shape=layout.shape,
            references=[round(samples) for samples in layout.references],
        )
        for shard, counts in enumerate(group)
        if counts.any()
    ]
