import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.config.training import ScheduleName
from raymu.core.schedule import SCHEDULES, rate_factor

names = st.sampled_from(ScheduleName)


@pytest.mark.parametrize(
    ("name", "last"),
    [(ScheduleName.CONSTANT, 1.0), (ScheduleName.LINEAR, 0.1), (ScheduleName.COSINE, 0.0244717)],
)
def test_factors_fall_from_one_along_the_schedule(name: ScheduleName, last: float) -> None:
    factors = [rate_factor(SCHEDULES[name], done=done, total=10) for done in range(10)]
    assert factors[0] == 1.0
    assert factors[-1] == pytest.approx(last, rel=1e-4)
    assert factors == sorted(factors, reverse=True)


@pytest.mark.parametrize("name", [ScheduleName.LINEAR, ScheduleName.COSINE])
def test_linear_and_cosine_end_at_zero(name: ScheduleName) -> None:
    assert SCHEDULES[name](1.0) == pytest.approx(0.0)


@given(name=names, total=st.integers(1, 200), warm_up=st.floats(0.0, 0.99))
def test_warm_up_rises_to_the_schedules_first_factor_and_then_follows_it(
    name: ScheduleName, total: int, warm_up: float
) -> None:
    factors = [rate_factor(SCHEDULES[name], done=done, total=total, warm_up=warm_up) for done in range(total)]
    warm = [factor for done, factor in enumerate(factors) if done < warm_up * total]
    assert warm == sorted(warm)
    assert factors[len(warm) :] == sorted(factors[len(warm) :], reverse=True)
    assert all(0.0 <= factor <= 1.0 for factor in factors)
    assert factors[0] > 0.0


@given(name=names, total=st.integers(1, 50), data=st.data())
def test_without_warm_up_only_the_trained_share_counts(name: ScheduleName, total: int, data: st.DataObject) -> None:
    done = data.draw(st.integers(0, total - 1))
    assert rate_factor(SCHEDULES[name], done=done, total=total) == SCHEDULES[name](done / total)
