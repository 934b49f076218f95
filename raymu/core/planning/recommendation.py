"""The layout and the hybrid boundary to choose for a budget of compute, for a deadline, or for a forgetting error."""

from collections.abc import Iterable
from dataclasses import dataclass

from raymu.config.unlearning import Boundary, Strategy
from raymu.core.planning.expected_cost import (
    ExpectedCost,
    Layout,
    expected_cost,
    expected_costs,
    sampled_forecasts,
)

PATCH_ERROR = 1.0
"""Forgetting error of a patch that a plan assumes, as a multiple of the floor: what patches aim at. experiments/remedies.py
measures it on single shards, and `raymu tune` on a run."""
DRAWS = 50
"""Number of groups that each mean makespan is sampled from: there are many layouts to try."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficBudget:
    """Expected traffic, and limits of its cost."""

    requests: int
    together: int
    """Requests that arrive at the same moment."""
    workers: int
    """Shards that are repaired side by side."""
    most_seconds: float
    """Most seconds of compute of all remedies."""
    longest_s: float | None = None
    """Longest mean makespan, in seconds, of requests that arrive at the same moment; None without a limit."""
    patch_error: float = PATCH_ERROR
    """Forgetting error of a patch, as a multiple of the floor."""
    most_forgetting_error: float | None = None
    """Largest mean forgetting error of the requests; None without a limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The compute that a recommendation may take."""

    seconds: float
    """Compute seconds of all remedies."""
    basis: str
    """What it is, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """A layout with a boundary, and the cost of the expected traffic."""

    shards: int
    slices: int
    boundary: float
    work: ExpectedCost
    makespan_s: float
    forgetting_error: float
    """Mean over the requests, each when its repair is done, as a multiple of the floor."""
    is_within: bool
    """Whether all of this is within the budget. If not, no candidate is, and this one exceeds it least."""


def exact_seconds(layout: Layout, *, requests: int, together: int) -> float:
    """Return the mean seconds of compute of retraining for every request."""
    return expected_cost(layout, Strategy.SISA, Boundary.parse(1.0), requests=requests, together=together).seconds


def default_budget(layout: Layout, strategy: Strategy, traffic: TrafficBudget) -> Budget:
    """Return the budget of who names none, for which the boundary is a real choice.

    All that retraining for every request takes would always be spent on it. So the budget is half of that, or what the
    cheapest boundary takes if that is more. If the forgetting error is bounded, it is what the cheapest boundary within
    the bound takes.

    Args:
        layout: The configured layout.
        strategy: The strategy of every request.
        traffic: The expected traffic, and the bound of the forgetting error. Its budget is not used.
    """
    costs = [cost for _, _, cost in _options(layout, strategy, traffic)]
    if traffic.most_forgetting_error is not None:
        bounded = [
            cost for cost in costs if cost.forgetting_error(traffic.patch_error) <= traffic.most_forgetting_error
        ]
        return Budget(
            seconds=min(cost.seconds for cost in bounded or costs),
            basis="what the cheapest boundary with this forgetting error takes with this layout",
        )
    half = exact_seconds(layout, requests=traffic.requests, together=traffic.together) / 2.0
    cheapest = min(cost.seconds for cost in costs)
    if cheapest > half:
        return Budget(seconds=cheapest, basis="what the cheapest boundary takes with this layout")
    return Budget(seconds=half, basis="half the compute that sisa takes with this layout")


def recommend(layouts: Iterable[Layout], strategy: Strategy, budget: TrafficBudget) -> Recommendation:
    """Choose the best layout and boundary within a budget, or the one that exceeds it least.

    The best leaves the fewest approximate states. Among equals it has the fewest shards, whose ensemble is the most
    accurate, then the fewest slices, which take the fewest epochs and checkpoints.

    Args:
        layouts: The layouts to choose among, at least one.
        strategy: The strategy of every request.
        budget: The traffic and its limits.
    """
    options = [option for layout in layouts for option in _options(layout, strategy, budget)]
    options.sort(key=lambda option: (round(option[2].approximate_share, 9), option[0].shards, option[0].slices))
    nearest: tuple[float, Recommendation] | None = None
    for layout, boundary, work in options:
        makespan_s = _makespan_s(layout, strategy, boundary, budget)
        forgetting_error = work.forgetting_error(budget.patch_error)
        excess = max(
            _share(work.seconds, budget.most_seconds),
            _share(makespan_s, budget.longest_s),
            _share(forgetting_error, budget.most_forgetting_error),
        )
        option = Recommendation(
            shards=layout.shards,
            slices=layout.slices,
            boundary=boundary.value,
            work=work,
            makespan_s=makespan_s,
            forgetting_error=forgetting_error,
            is_within=excess <= 1.0,
        )
        if option.is_within:
            return option
        if nearest is None or excess < nearest[0]:
            nearest = (excess, option)
    assert nearest is not None, "there is a layout to choose"
    return nearest[1]


def _options(layout: Layout, strategy: Strategy, budget: TrafficBudget) -> list[tuple[Layout, Boundary, ExpectedCost]]:
    """Return the boundaries that retrain different shards, with their costs."""
    boundaries = [Boundary.parse(layout.boundary_retraining_from(first)) for first in range(layout.slices + 1)]
    rules = [(strategy, boundary) for boundary in boundaries]
    costs = expected_costs(layout, rules, requests=budget.requests, together=budget.together)
    return [(layout, boundary, cost) for boundary, cost in zip(boundaries, costs, strict=True)]


def _makespan_s(layout: Layout, strategy: Strategy, boundary: Boundary, budget: TrafficBudget) -> float:
    if budget.together == 1:  # one shard's remedy
        return expected_cost(layout, strategy, boundary, requests=1).seconds
    sampled = sampled_forecasts(layout, boundary, together=budget.together, workers=budget.workers, draws=DRAWS)
    return sampled[strategy].makespan_seconds


def _share(cost: float, most: float | None) -> float:
    """Return the share of a limit that a cost takes; 0 without a limit."""
    if most is None:
        return 0.0
    return cost / most if most > 0.0 else float("inf")
