from dataclasses import replace

import pytest

from raymu.config.unlearning import Contributions, Strategy
from raymu.core.tuning import Constraints, InterimScore, Score, SearchSpace, pareto_front

SCORE = Score(
    passes=50.0,
    lost_points=0.2,
    debt_share=0.5,
    compute_seconds=1.0,
    measured_seconds=1.0,
    makespan_s=1.0,
    p50_s=1.0,
    p95_s=2.0,
    accuracy=0.9,
    forgetting_error=0.1,
    klom_error=1.0,
    too_little=0.05,
    too_much=0.05,
    approximate_share=0.5,
    weights_sha256="",
)


def test_a_score_within_the_constraints_is_its_share_of_retraining() -> None:
    assert Constraints().loss(SCORE, retrain_passes=200.0) == 0.25


@pytest.mark.parametrize(
    ("bounds", "violation"),
    [
        ({"most_lost_points": 0.1}, {"lost_points": 1.0}),
        ({"most_debt_share": 0.2}, {"debt_share": 1.5}),
        ({"most_forgetting_error": 0.05}, {"forgetting_error": 1.0}),
        ({"most_klom_error": 0.25}, {"klom_error": 3.0}),
        ({"most_p95_s": 1.0}, {"p95_s": 1.0}),
        ({"most_lost_points": None}, {}),
    ],
)
def test_a_violation_is_relative_to_its_bound(bounds: dict[str, float | None], violation: dict[str, float]) -> None:
    assert Constraints(**bounds).violations(SCORE) == pytest.approx(violation)


def test_a_violated_constraint_is_worse_than_any_cost() -> None:
    bounds = Constraints(most_debt_share=0.5)
    dear, cheap = replace(SCORE, passes=200.0), replace(SCORE, passes=1.0, debt_share=0.51)
    assert bounds.loss(dear, retrain_passes=200.0) < bounds.loss(cheap, retrain_passes=200.0)
    worse = replace(cheap, debt_share=0.9)
    assert bounds.loss(cheap, retrain_passes=200.0) < bounds.loss(worse, retrain_passes=200.0)


def test_an_interim_score_is_checked_for_what_it_contains() -> None:
    interim = InterimScore(passes=50.0, lost_points=0.2, debt_share=0.5)
    bounds = Constraints(most_forgetting_error=0.0, most_debt_share=0.2)
    assert bounds.violations(interim).keys() == {"debt_share"}


def test_the_front_has_the_choices_that_no_other_dominates() -> None:
    cheap = replace(SCORE, passes=1.0, forgetting_error=0.3)
    exact = replace(SCORE, passes=99.0, forgetting_error=0.0, lost_points=0.0)
    beaten = replace(SCORE, passes=60.0)
    assert pareto_front([cheap, SCORE, exact, beaten, cheap]) == [True, True, True, False, True]


def test_a_grid_has_every_combination_and_both_bounds() -> None:
    space = SearchSpace(
        strategies=(Strategy.HS, Strategy.OHS), contributions=(Contributions.GRADIENT,), fine_tune_slices=(1, 2)
    )
    grid = space.grid(16)
    assert len(set(grid)) == len(grid) == 16
    assert {choice.boundary for choice in grid if choice.strategy == "ohs" and choice.fine_tune_slices == 2} >= {
        0.0,
        1.0,
    }
