from dataclasses import replace

import pytest

from raymu.config import UnlearningConfig
from raymu.config.stage_epochs import epochs_per_stage
from raymu.config.unlearning import Contributions, Strategy
from raymu.core.planning.expected_cost import Layout
from raymu.core.planning.recommendation import TrafficBudget, exact_seconds, recommend
from raymu.core.run_shape import RunShape

SAMPLES = 4800


def layout(shards: int, slices: int) -> Layout:
    return Layout(
        shards=shards,
        slice_samples=(SAMPLES / shards / slices,) * slices,
        slice_prior=(1 / slices,) * slices,
        shape=RunShape(
            unlearning=UnlearningConfig(contributions=Contributions.GRADIENT), epochs=epochs_per_stage(12, slices)
        ),
        seconds_per_pass=1e-4,
    )


LAYOUTS = [layout(shards, slices) for shards in (8, 2, 4) for slices in (5, 1, 2)]


FREELY = float("inf")


def test_without_limits_the_fewest_shards_and_slices_that_stay_exact_are_chosen() -> None:
    best = recommend(LAYOUTS, Strategy.HS, TrafficBudget(requests=10, together=1, workers=2, most_seconds=FREELY))
    assert (best.shards, best.slices, best.boundary, best.is_within) == (2, 1, 1.0, True)
    assert best.work.approximate_share == 0.0


def test_a_smaller_budget_takes_more_shards_and_then_patches() -> None:
    shares, shards = [], []
    for budget in (40.0, 10.0, 5.0, 1.0, 0.2):
        best = recommend(LAYOUTS, Strategy.HS, TrafficBudget(requests=10, together=1, workers=2, most_seconds=budget))
        assert best.is_within
        assert best.work.seconds <= budget
        shares.append(best.work.approximate_share)
        shards.append(best.shards)
    assert shares == sorted(shares)
    assert (shares[0], shares[1], shares[-1]) == (0.0, 0.0, 1.0)
    assert shards[0] < shards[1]


@pytest.mark.parametrize("together", [1, 10])
def test_a_longest_makespan_bounds_requests_that_arrive_together(together: int) -> None:
    demand = TrafficBudget(requests=10, together=together, workers=2, most_seconds=FREELY, longest_s=1.0)
    best = recommend(LAYOUTS, Strategy.OHS, demand)
    assert best.is_within
    assert best.makespan_s <= 1.0
    freely = recommend(LAYOUTS, Strategy.OHS, replace(demand, longest_s=None))
    assert freely.makespan_s > 1.0


@pytest.mark.parametrize("patch_error", [0.5, 1.0, 3.0])
def test_a_bound_of_the_forgetting_error_limits_how_many_requests_are_patched(patch_error: float) -> None:
    demand = TrafficBudget(
        requests=10,
        together=1,
        workers=2,
        most_seconds=1.0,
        patch_error=patch_error,
        most_forgetting_error=1.25,
    )
    best = recommend(LAYOUTS, Strategy.HS, demand)
    assert best.forgetting_error == best.work.patched_requests * patch_error
    freely = recommend(LAYOUTS, Strategy.HS, replace(demand, most_forgetting_error=None))
    assert freely.work.patched_requests > 0.5, "the budget asks for patches"
    assert (best == freely) == (patch_error <= 1.25)
    assert best.is_within == (patch_error <= 1.25), "with worse patches the two limits contradict each other"


def test_without_an_option_within_the_limits_the_nearest_is_recommended() -> None:
    best = recommend(LAYOUTS, Strategy.HS, TrafficBudget(requests=10, together=1, workers=2, most_seconds=0.01))
    assert not best.is_within
    assert best.boundary == 0.0


@pytest.mark.parametrize("together", [1, 10])
def test_a_budget_that_allows_retraining_recommends_it_at_no_higher_cost(together: int) -> None:
    configured = LAYOUTS[0]
    most_seconds = exact_seconds(configured, requests=10, together=together)
    demand = TrafficBudget(requests=10, together=together, workers=2, most_seconds=most_seconds)
    for choice in ([configured], LAYOUTS):
        best = recommend(choice, Strategy.HS, demand)
        assert (best.boundary, best.work.approximate_share, best.is_within) == (1.0, 0.0, True)
        assert best.work.seconds <= most_seconds
