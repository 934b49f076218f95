from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.audit.roc import auc, clopper_pearson, has_enough_for_tpr, tpr_at

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=30).map(lambda values: np.array(values, dtype=np.float64))


@given(members=scores, non_members=scores)
def test_the_area_is_the_share_of_pairs_in_the_right_order(members: np.ndarray, non_members: np.ndarray) -> None:
    wins = (members[:, None] > non_members).mean() + 0.5 * (members[:, None] == non_members).mean()
    area = auc(members, non_members)
    assert area.value == pytest.approx(wins)
    assert 0.0 <= area.low <= area.value <= area.high <= 1.0


@given(members=scores, non_members=scores)
def test_negated_scores_mirror_the_area(members: np.ndarray, non_members: np.ndarray) -> None:
    swapped = auc(-members, -non_members)
    assert swapped.value == pytest.approx(1.0 - auc(members, non_members).value)
    assert swapped.low == pytest.approx(1.0 - auc(members, non_members).high)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_interval_of_the_area_has_its_coverage(shift: float) -> None:
    random = np.random.default_rng(2)
    truth = auc(shift + random.normal(size=20_000), random.normal(size=20_000)).value
    areas = [auc(shift + random.normal(size=30), random.normal(size=60)) for _ in range(400)]
    assert np.mean([area.low <= truth <= area.high for area in areas]) == pytest.approx(0.95, abs=0.03)


def test_a_single_member_gives_no_interval_and_few_members_a_wide_one() -> None:
    assert (auc(np.ones(1), np.zeros(100)).low, auc(np.ones(1), np.zeros(100)).high) == (0.0, 1.0)
    assert auc(np.ones(5), np.zeros(100)).low == pytest.approx(0.478, abs=1e-3)
    assert auc(np.ones(500), np.zeros(900)).low > 0.99


def test_scores_that_all_tie_have_the_interval_of_coin_tosses() -> None:
    few, many = auc(np.zeros(5), np.zeros(100)), auc(np.zeros(500), np.zeros(900))
    assert (few.value, many.value) == (0.5, 0.5)
    assert few.low < 0.1 < 0.9 < few.high
    assert 0.45 < many.low < 0.5 < many.high < 0.55


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0), (1, 1000, 0.0000253, 0.005558)],
)
def test_clopper_pearson_gives_the_published_intervals(successes: int, trials: int, low: float, high: float) -> None:
    interval = clopper_pearson(successes, trials)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


@given(trials=st.integers(1, 40), data=st.data())
def test_beyond_a_bound_the_count_is_improbable(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    interval = clopper_pearson(successes, trials)

    def probability(rate: float, counts: range) -> float:
        return sum(comb(trials, count) * rate**count * (1.0 - rate) ** (trials - count) for count in counts)

    if successes:
        assert probability(interval.low, range(successes, trials + 1)) == pytest.approx(0.025)
    if successes < trials:
        assert probability(interval.high, range(successes + 1)) == pytest.approx(0.025)


def test_many_trials_keep_their_interval() -> None:
    interval = clopper_pearson(40, 100_000)
    assert interval.low < 0.0004 < interval.high < 0.0006


@given(members=scores, seed=st.integers(0, 99))
def test_no_more_false_positives_are_taken_than_allowed(members: np.ndarray, seed: int) -> None:
    non_members = np.random.default_rng(seed).integers(-5, 5, 1000).astype(np.float64)
    rate = tpr_at(0.01, members, non_members)
    thresholds = [*np.unique(np.concatenate([members, non_members])), -np.inf]
    allowed = [each for each in thresholds if (non_members > each).mean() <= 0.01]
    assert rate.value == pytest.approx(max((members > each).mean() for each in allowed))


@pytest.mark.parametrize(("fpr", "enough"), [(0.001, 10_000), (0.01, 1_000), (0.1, 100)])
def test_a_rate_at_few_false_positives_needs_many_non_members(fpr: float, enough: int) -> None:
    random = np.random.default_rng(0)
    assert has_enough_for_tpr(fpr, enough)
    assert 0.0 <= tpr_at(fpr, random.normal(size=50), random.normal(size=enough)).value <= 0.3
    assert not has_enough_for_tpr(fpr, enough - 1)
    with pytest.raises(ValueError, match="too few"):
        tpr_at(fpr, np.ones(50), np.zeros(enough - 1))
