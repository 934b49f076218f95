"""Which layout and which hybrid boundary to choose for a budget of compute, or for a deadline."""

from collections.abc import Iterable
from dataclasses import dataclass

from raymu.config.unlearning import Boundary, Strategy
from raymu.core.planning.expected_cost import ExpectedCost, Layout, expected_cost, sampled_forecasts

DRAWS = 50
"""Groups that each makespan is the mean of: there are many layouts to try."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficBudget:
    """Traffic that is expected, and what it may cost. together: requests that come at a time

    most_passes: sample passes of all remedies; longest_s: mean makespan of the requests that come at a time
    """

    requests: int
    together: int
    workers: int
    most_passes: float
    longest_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """A layout with a boundary, and what the demand costs there. is_within: False where it is only the nearest"""

    shards: int
    slices: int
    boundary: float
    work: ExpectedCost
    makespan_s: float
    is_within: bool


def exact_passes(prospect: Layout, *, requests: int, together: int) -> float:
    """What retraining for every request takes in a layout: what traffic may cost where nobody says how much."""
    return expected_cost(prospect, Strategy.SISA, Boundary.parse(1.0), requests=requests, together=together).passes


def recommend(prospects: Iterable[Layout], strategy: Strategy, demand: TrafficBudget) -> Recommendation:
    """The best layout and boundary within the demand, or the nearest where none is.

    The best leaves the fewest approximate states; then it has the fewest shards, whose ensemble is the most accurate;
    then the fewest slices, which take the fewest epochs and checkpoints.
    prospects: the layouts to choose among, at least one
    """
    options = [
        (one, boundary, expected_cost(one, strategy, boundary, requests=demand.requests, together=demand.together))
        for one in prospects
        for boundary in _boundaries(one)
    ]
    options.sort(key=lambda option: (round(option[2].approximate_share, 9), option[0].shards, option[0].slices))
    tried: list[tuple[float, Recommendation]] = []
    for prospect, boundary, work in options:
        makespan_s = _makespan_s(prospect, strategy, boundary, demand)
        excess = max(_share(work.passes, demand.most_passes), _share(makespan_s, demand.longest_s))
        found = Recommendation(
            shards=prospect.shards,
            slices=prospect.slices,
            boundary=boundary.value,
            work=work,
            makespan_s=makespan_s,
            is_within=excess <= 1.0,
        )
        if found.is_within:
            return found
        tried.append((excess, found))
    return min(tried, key=lambda one: one[0])[1]


def _boundaries(prospect: Layout) -> list[Boundary]:
    """One of each that makes a difference."""
    return [Boundary.parse(prospect.boundary_retraining_from(first)) for first in range(prospect.slices + 1)]


def _makespan_s(prospect: Layout, strategy: Strategy, boundary: Boundary, demand: TrafficBudget) -> float:
    if demand.together == 1:  # one shard's remedy
        return expected_cost(prospect, strategy, boundary, requests=1).passes * prospect.seconds_per_pass
    drawn = sampled_forecasts(prospect, boundary, together=demand.together, workers=demand.workers, draws=DRAWS)
    return drawn[strategy].makespan_seconds


def _share(cost: float, most: float | None) -> float:
    """Of what is allowed."""
    if most is None:
        return 0.0
    return cost / most if most > 0.0 else float("inf")
