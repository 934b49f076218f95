"""The capacity plan: what traffic would cost a run that is not trained yet, and which layout to choose for it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from statistics import fmean

import numpy as np

from raymu.config import Config
from raymu.config.unlearning import Boundary, BoundaryKind, Strategy
from raymu.core.planner import StrategyForecast
from raymu.core.planning.expected_cost import (
    ExpectedCost,
    Layout,
    expected_cost,
    expected_costs,
    expected_curve,
    sampled_forecasts,
)
from raymu.core.planning.recommendation import (
    PATCH_ERROR,
    Budget,
    Recommendation,
    TrafficBudget,
    default_budget,
    recommend,
)
from raymu.core.planning.simulated_shard import untrained_lineages
from raymu.core.planning.simulator import simulate
from raymu.core.planning.traffic import Traffic, draw_trace
from raymu.core.run_shape import RunShape
from raymu.service.planning.layouts import LayoutCandidates
from raymu.service.planning.profile import Profile

TRACES = 10
"""Number of traces of the same traffic that a simulation averages over."""
POINTS = 40
"""Largest number of points of a curve."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkPoint:
    """Expected sample passes of a number of requests."""

    requests: int
    apart: float
    """If the requests are served one by one."""
    together: float
    """If the requests are served as one batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundaryPoint:
    """Expected cost of all the traffic at a hybrid boundary."""

    boundary: float
    """A fraction of the work of training a whole shard."""
    work: ExpectedCost


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedTraffic:
    """Means over simulated traces. The fields are those of `SimulationSummary`."""

    passes: float
    compute_seconds: float
    makespan_s: float
    p50_s: float
    p95_s: float
    approximate_share: float
    patched_requests: float
    debt_shards: float
    debt_passes: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LayoutAdvice:
    """A recommended layout and boundary, and a simulation of the traffic with them."""

    recommendation: Recommendation
    replayed: SimulatedTraffic


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityPlan:
    """The cost of traffic for a configuration, and a recommendation."""

    traffic: str
    requests: int
    """Number of requests of the traffic: owners or samples."""
    samples: int
    shards: int
    slices: int
    workers: int
    boundary: str
    """The configured hybrid boundary, for `hs` and `ohs`."""
    seconds_per_pass: float
    by_requests: dict[Strategy, tuple[WorkPoint, ...]]
    by_boundary: dict[Strategy, tuple[BoundaryPoint, ...]]
    one_batch: dict[Strategy, StrategyForecast]
    """Mean forecast of all requests arriving at the same moment."""
    replayed: dict[Strategy, SimulatedTraffic]
    budget_s: float
    """Compute seconds that the recommendations may take."""
    budget_basis: str
    """What this budget is, in words."""
    patch_error: float
    """Forgetting error of a patch that the plan assumes, as a multiple of the floor."""
    within_layout: LayoutAdvice
    """Advice for the configured shards and slices."""
    any_layout: LayoutAdvice
    """Advice with free shards and slices."""


def plan_capacity(
    config: Config,
    profile: Profile,
    traffic: Traffic,
    *,
    workers: int,
    window_s: float = 0.0,
    budget_s: float | None = None,
    longest_s: float | None = None,
    patch_error: float = PATCH_ERROR,
    most_forgetting_error: float | None = None,
) -> CapacityPlan:
    """Compute the cost of traffic with every strategy, and recommend shards, slices and boundary.

    Args:
        config: The configuration.
        profile: Training data and speed.
        traffic: What arrives.
        workers: Shards that are repaired side by side.
        window_s: Batch window in seconds, see `Trace.batches`.
        budget_s: Compute seconds of all remedies; by default what `default_budget` returns.
        longest_s: Largest mean makespan of the requests that arrive together, in seconds.
        patch_error: Forgetting error of a patch, as a multiple of the floor. No model is there yet to measure it on.
        most_forgetting_error: Largest mean forgetting error of the requests.

    Raises:
        TraceInvalid: The training data cannot produce the traffic.
        ConfigInvalid: The configuration has too few epochs for its slices.
    """
    candidates = LayoutCandidates(config, profile, traffic)
    layout, boundary = candidates.configured(), candidates.boundary
    strategy = Strategy.OHS if config.unlearning.strategy is Strategy.OHS else Strategy.HS
    budget = replace(
        candidates.budget(workers=workers, budget_s=budget_s or 0.0, longest_s=longest_s),
        patch_error=patch_error,
        most_forgetting_error=most_forgetting_error,
    )
    if budget_s is None:
        chosen = default_budget(layout, strategy, budget)
        budget = replace(budget, most_seconds=chosen.seconds)
    else:
        chosen = Budget(seconds=budget_s, basis="as given")
    simulated = partial(_simulated, profile, traffic, workers=workers, window_s=window_s)

    def advice(layouts: Sequence[Layout]) -> LayoutAdvice:
        recommendation = recommend(layouts, strategy, budget)
        return LayoutAdvice(
            recommendation=recommendation, replayed=simulated(_recommended(config, strategy, recommendation))
        )

    return CapacityPlan(
        traffic=str(traffic),
        requests=traffic.count,
        samples=candidates.samples,
        shards=layout.shards,
        slices=layout.slices,
        workers=workers,
        boundary=str(boundary),
        seconds_per_pass=profile.seconds_per_pass,
        by_requests={strategy: _by_requests(layout, strategy, boundary, budget) for strategy in Strategy},
        by_boundary={strategy: _by_boundary(layout, strategy, budget) for strategy in (Strategy.HS, Strategy.OHS)},
        one_batch=sampled_forecasts(layout, boundary, together=budget.requests, workers=workers),
        replayed={strategy: simulated(_with_strategy(config, strategy)) for strategy in Strategy},
        budget_s=chosen.seconds,
        budget_basis=chosen.basis,
        patch_error=patch_error,
        within_layout=advice([layout]),
        any_layout=advice([layout, *candidates.layouts()]),
    )


def _by_requests(
    layout: Layout, strategy: Strategy, boundary: Boundary, budget: TrafficBudget
) -> tuple[WorkPoint, ...]:
    counts = np.unique(np.linspace(1, budget.requests, POINTS).round()).astype(int).tolist()
    curve = expected_curve(layout, [(strategy, boundary)], counts=counts)
    return tuple(
        WorkPoint(
            requests=count,
            apart=cost.passes,
            together=_batch_passes(layout, strategy, boundary, requests=count, workers=budget.workers),
        )
        for count, [cost] in zip(counts, curve, strict=True)
    )


def _batch_passes(layout: Layout, strategy: Strategy, boundary: Boundary, *, requests: int, workers: int) -> float:
    """Return the expected sample passes of requests that are served as one batch."""
    if boundary.kind is BoundaryKind.DEADLINE and strategy in (Strategy.HS, Strategy.OHS):
        return sampled_forecasts(layout, boundary, together=requests, workers=workers)[strategy].passes
    return expected_cost(layout, strategy, boundary, requests=requests, together=requests).passes


def _by_boundary(layout: Layout, strategy: Strategy, budget: TrafficBudget) -> tuple[BoundaryPoint, ...]:
    boundaries = [
        Boundary.parse(layout.boundary_retraining_from(first)) for first in reversed(range(layout.slices + 1))
    ]
    rules = [(strategy, boundary) for boundary in boundaries]
    costs = expected_costs(layout, rules, requests=budget.requests, together=budget.together)
    return tuple(
        BoundaryPoint(boundary=boundary.value, work=cost) for boundary, cost in zip(boundaries, costs, strict=True)
    )


def _with_strategy(config: Config, strategy: Strategy) -> Config:
    return replace(config, unlearning=replace(config.unlearning, strategy=strategy))


def _recommended(config: Config, strategy: Strategy, recommendation: Recommendation) -> Config:
    """Return the configuration with the recommended layout and boundary."""
    partition, recommended = config.partition, (recommendation.shards, recommendation.slices)
    if recommended != (partition.shards, partition.slices):
        partition = replace(partition, shards=recommendation.shards, slices=recommendation.slices, risk_bands=None)
    boundary = Boundary.parse(recommendation.boundary)
    unlearning = replace(config.unlearning, strategy=strategy, boundary=boundary)
    return replace(config, partition=partition, unlearning=unlearning)


def _simulated(
    profile: Profile, traffic: Traffic, config: Config, *, workers: int, window_s: float
) -> SimulatedTraffic:
    """Simulate traces of the traffic on an untrained run, and average over them."""
    population = profile.population_of(config.partition)
    lineages = untrained_lineages(
        population.slice_samples.tolist(),
        seconds_per_pass=profile.seconds_per_pass,
        seconds_per_stage=profile.seconds_per_stage,
    )
    summaries = [
        simulate(
            draw_trace(replace(traffic, seed=traffic.seed + number), population),
            population,
            lineages,
            shape=RunShape.of(config, has_batch_norm=profile.has_batch_norm),
            workers=workers,
            window_s=window_s,
        ).summary
        for number in range(TRACES)
    ]
    names = [field.name for field in fields(SimulatedTraffic)]
    return SimulatedTraffic(**{name: fmean(getattr(summary, name) for summary in summaries) for name in names})
