"""What traffic would cost a run that is not trained yet: curves, a replay in simulated time, and a recommendation."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from statistics import fmean

import numpy as np

from raymu.config import Config
from raymu.config.unlearning import Boundary, BoundaryKind, Strategy
from raymu.core.planner import StrategyForecast
from raymu.core.planning.expected_cost import ExpectedCost, Layout, expected_cost, sampled_forecasts
from raymu.core.planning.recommendation import Recommendation, TrafficBudget, recommend
from raymu.core.planning.simulated_shard import untrained_lineages
from raymu.core.planning.simulator import simulate
from raymu.core.planning.traffic import Traffic, draw_trace
from raymu.core.workload import RunShape
from raymu.service.planning.layouts import LayoutCandidates
from raymu.service.planning.profile import Profile

TRACES = 10
"""Traces of the same traffic that what is replayed is the mean of."""
POINTS = 40
"""Of a curve, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkPoint:
    """Mean sample passes for so many requests. apart: served one by one; together: served as one batch"""

    requests: int
    apart: float
    together: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundaryPoint:
    """boundary: a fraction, that retrains from some slice on and patches before it; work: of all the traffic"""

    boundary: float
    work: ExpectedCost


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayedTraffic:
    """Means over traces that are replayed in simulated time. Fields: see SimulationSummary"""

    passes: float
    compute_seconds: float
    makespan_s: float
    p50_s: float
    p95_s: float
    approximate_share: float
    debt_shards: float
    debt_passes: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LayoutAdvice:
    """What is recommended, and what the traffic does there in simulated time."""

    recommendation: Recommendation
    replayed: ReplayedTraffic


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityPlan:
    """boundary: the configured one, which hs and ohs are forecast with; requests: of the traffic, owners or samples"""

    traffic: str
    requests: int
    samples: int
    shards: int
    slices: int
    workers: int
    boundary: str
    seconds_per_pass: float
    by_requests: dict[Strategy, tuple[WorkPoint, ...]]
    by_boundary: dict[Strategy, tuple[BoundaryPoint, ...]]
    one_batch: dict[Strategy, StrategyForecast]
    """Mean, where all of it comes at the same moment."""
    replayed: dict[Strategy, ReplayedTraffic]
    budget_s: float | None
    """Compute that the recommendations may take; None for what sisa takes in the configured layout."""
    within_layout: LayoutAdvice
    """The boundary to choose with the shards and slices that are configured, for hs or ohs, as configured."""
    any_layout: LayoutAdvice
    """The same where shards and slices are free too."""


def plan_capacity(
    config: Config,
    survey: Profile,
    traffic: Traffic,
    *,
    workers: int,
    window_s: float = 0.0,
    budget_s: float | None = None,
    longest_s: float | None = None,
) -> CapacityPlan:
    """Forecast traffic with every strategy, and recommend shards, slices and boundary.

    workers: shards that are repaired side by side; window_s: see Trace.batches
    budget_s: compute of all remedies; as much as sisa takes in the configured layout where not given
    longest_s: mean time that the remedies of requests which come at the same moment may take
    Raises TraceInvalid, ConfigInvalid.
    """
    prospects = LayoutCandidates(config, survey, traffic)
    prospect, boundary = prospects.configured(), prospects.boundary
    demand = prospects.demand(workers=workers, budget_s=budget_s, longest_s=longest_s)
    replayed = partial(_replayed, survey, traffic, workers=workers, window_s=window_s)

    def advice(choice: Sequence[Layout]) -> LayoutAdvice:
        strategy = Strategy.OHS if config.unlearning.strategy is Strategy.OHS else Strategy.HS
        found = recommend(choice, strategy, demand)
        return LayoutAdvice(recommendation=found, replayed=replayed(_chosen(config, strategy, found)))

    return CapacityPlan(
        traffic=str(traffic),
        requests=traffic.count,
        samples=prospects.samples,
        shards=prospect.shards,
        slices=prospect.slices,
        workers=workers,
        boundary=str(boundary),
        seconds_per_pass=survey.seconds_per_pass,
        by_requests={one: _by_requests(prospect, one, boundary, demand) for one in Strategy},
        by_boundary={one: _by_boundary(prospect, one, demand) for one in (Strategy.HS, Strategy.OHS)},
        one_batch=sampled_forecasts(prospect, boundary, together=demand.requests, workers=workers),
        replayed={one: replayed(_with_strategy(config, one)) for one in Strategy},
        budget_s=budget_s,
        within_layout=advice([prospect]),
        any_layout=advice([prospect, *prospects.layouts()]),
    )


def _by_requests(
    prospect: Layout, strategy: Strategy, boundary: Boundary, demand: TrafficBudget
) -> tuple[WorkPoint, ...]:
    counts = np.unique(np.linspace(1, demand.requests, POINTS).round()).astype(int).tolist()
    return tuple(
        WorkPoint(
            requests=count,
            apart=expected_cost(prospect, strategy, boundary, requests=count).passes,
            together=_of_one_batch(prospect, strategy, boundary, replace(demand, requests=count)),
        )
        for count in counts
    )


def _of_one_batch(prospect: Layout, strategy: Strategy, boundary: Boundary, demand: TrafficBudget) -> float:
    """Mean sample passes."""
    requests = demand.requests
    if boundary.kind is BoundaryKind.DEADLINE and strategy in (Strategy.HS, Strategy.OHS):
        return sampled_forecasts(prospect, boundary, together=requests, workers=demand.workers)[strategy].passes
    return expected_cost(prospect, strategy, boundary, requests=requests, together=requests).passes


def _by_boundary(prospect: Layout, strategy: Strategy, demand: TrafficBudget) -> tuple[BoundaryPoint, ...]:
    points = []
    for first in reversed(range(prospect.slices + 1)):
        boundary = Boundary.parse(prospect.boundary_retraining_from(first))
        work = expected_cost(prospect, strategy, boundary, requests=demand.requests, together=demand.together)
        points.append(BoundaryPoint(boundary=boundary.value, work=work))
    return tuple(points)


def _with_strategy(config: Config, strategy: Strategy) -> Config:
    return replace(config, unlearning=replace(config.unlearning, strategy=strategy))


def _chosen(config: Config, strategy: Strategy, found: Recommendation) -> Config:
    """The configuration as recommended."""
    partition = config.partition
    if (found.shards, found.slices) != (partition.shards, partition.slices):
        partition = replace(partition, shards=found.shards, slices=found.slices, risk_bands=None)
    unlearning = replace(config.unlearning, strategy=strategy, boundary=Boundary.parse(found.boundary))
    return replace(config, partition=partition, unlearning=unlearning)


def _replayed(survey: Profile, traffic: Traffic, config: Config, *, workers: int, window_s: float) -> ReplayedTraffic:
    population = survey.populate(config.partition)
    lineages = untrained_lineages(population.slice_samples.tolist(), seconds_per_pass=survey.seconds_per_pass)
    outcomes = [
        simulate(
            draw_trace(replace(traffic, seed=traffic.seed + number), population),
            population,
            lineages,
            shape=RunShape.of(config, has_batch_norm=survey.has_batch_norm),
            workers=workers,
            window_s=window_s,
        ).outcome
        for number in range(TRACES)
    ]
    means = {one.name: fmean(getattr(outcome, one.name) for outcome in outcomes) for one in fields(ReplayedTraffic)}
    return ReplayedTraffic(**means)
