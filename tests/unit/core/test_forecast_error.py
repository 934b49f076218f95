from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.commands import RepairReport, RepairShard
from raymu.core.events import RevocationsAccepted, ShardRepaired
from raymu.core.forecast_error import FIRST_SPREAD, ForecastError, ForecastErrors
from raymu.core.records import Remedy
from raymu.core.workload import update_seconds_per_pass
from tests.unit.core.examples import NOW, accepted, report_of, request, trained_board


def a_report() -> RepairReport:
    [command] = [
        one for one in trained_board().handle(accepted(request("r1", {1: {2: 1}}))) if isinstance(one, RepairShard)
    ]
    return report_of(command, {2: 1}, version="1")


def followed(ratios: list[float]) -> ForecastError:
    pace = ForecastError()
    for ratio in ratios:
        pace = pace.after(10.0, 10.0 * ratio)
    return pace


@given(forecast=st.floats(1e-3, 1e4))
def test_before_any_remedy_the_forecast_itself_is_expected(forecast: float) -> None:
    interval = ForecastError().interval(forecast)
    assert interval.expected_s == pytest.approx(forecast)
    assert interval.low_s < forecast / (1 + FIRST_SPREAD) < forecast * (1 + FIRST_SPREAD) < interval.high_s


def test_remedies_that_take_longer_than_forecast_shift_what_is_expected() -> None:
    pace = followed([2.0] * 40)
    assert pace.interval(3.0).expected_s == pytest.approx(6.0, rel=0.01)
    assert pace.interval(3.0).high_s < 3.0 * 2.5
    assert (pace.remedies, pace.forecast_seconds, pace.seconds) == (40, 400.0, 800.0)


def test_what_is_long_ago_counts_less() -> None:
    assert followed([2.0] * 30 + [1.0] * 30).bias == pytest.approx(0.0, abs=0.05)
    assert followed([1.0] * 30 + [2.0] * 30).bias == pytest.approx(np.log(2.0), abs=0.05)


@pytest.mark.parametrize("spread", [0.05, 0.2, 0.5])
def test_nine_in_ten_remedies_take_a_time_within_their_interval(spread: float) -> None:
    random, pace, hits = np.random.default_rng(3), ForecastError(), []
    for ratio in np.exp(random.normal(0.3, spread, 2000)).tolist():
        interval = pace.interval(5.0)
        hits.append(interval.low_s <= 5.0 * ratio <= interval.high_s)
        pace = pace.after(5.0, 5.0 * ratio)
    assert fmean(hits) == pytest.approx(0.9, abs=0.03)
    assert pace.std == pytest.approx(spread, rel=0.5)


def test_a_book_learns_from_each_remedy_once() -> None:
    book, event = ForecastErrors(), ShardRepaired(at=NOW, report=replace(a_report(), seconds=3.0))
    for _ in range(2):
        book.handle(event)
    assert book.paces[Remedy.RETRAIN] == ForecastError().after(event.report.planned.seconds, 3.0)
    assert book.paces[Remedy.PATCH] == ForecastError()


def test_a_remedy_that_was_not_carried_out_as_planned_tells_nothing() -> None:
    book, report = ForecastErrors(), a_report()
    book.handle(ShardRepaired(at=NOW, report=replace(report, remedy=Remedy.PATCH)))
    book.handle(ShardRepaired(at=NOW, report=replace(report, command_id="empty", seconds=0.0)))
    book.handle(RevocationsAccepted(at=NOW, requests=(), generation=1))
    assert set(book.paces.values()) == {ForecastError()}


@given(
    before=st.floats(1e-6, 1.0),
    measured=st.floats(1e-6, 1.0),
    passes=st.floats(0.0, 1e5),
    whole=st.integers(1, 100_000),
)
def test_a_shards_speed_moves_towards_what_is_measured_by_how_much_was_trained(
    before: float, measured: float, passes: float, whole: int
) -> None:
    learned = update_seconds_per_pass(before, whole_passes=whole, passes=passes, seconds=measured * passes)
    share = passes / (whole + passes)
    assert learned == pytest.approx(before + share * (measured - before))
    assert update_seconds_per_pass(before, whole_passes=0, passes=0.0, seconds=0.0) == before
