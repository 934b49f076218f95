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
        command
        for command in trained_board().handle(accepted(request("r1", {1: {2: 1}})))
        if isinstance(command, RepairShard)
    ]
    return report_of(command, {2: 1}, version="1")


def after_repairs(ratios: list[float]) -> ForecastError:
    error = ForecastError()
    for ratio in ratios:
        error = error.after(10.0, 10.0 * ratio)
    return error


@given(forecast=st.floats(1e-3, 1e4))
def test_before_any_repair_the_median_is_the_forecast(forecast: float) -> None:
    interval = ForecastError().interval(forecast)
    assert interval.expected_s == pytest.approx(forecast)
    assert interval.low_s < forecast / (1 + FIRST_SPREAD) < forecast * (1 + FIRST_SPREAD) < interval.high_s


def test_repairs_that_take_longer_than_forecast_shift_the_interval() -> None:
    error = after_repairs([2.0] * 40)
    assert error.interval(3.0).expected_s == pytest.approx(6.0, rel=0.01)
    assert error.interval(3.0).high_s < 3.0 * 2.5
    assert (error.remedies, error.forecast_seconds, error.seconds) == (40, 400.0, 800.0)


def test_recent_repairs_weigh_more() -> None:
    assert after_repairs([2.0] * 30 + [1.0] * 30).bias == pytest.approx(0.0, abs=0.05)
    assert after_repairs([1.0] * 30 + [2.0] * 30).bias == pytest.approx(np.log(2.0), abs=0.05)


@pytest.mark.parametrize("std", [0.05, 0.2, 0.5])
def test_nine_in_ten_repairs_are_within_their_interval(std: float) -> None:
    random, error, hits = np.random.default_rng(3), ForecastError(), []
    for ratio in np.exp(random.normal(0.3, std, 2000)).tolist():
        interval = error.interval(5.0)
        hits.append(interval.low_s <= 5.0 * ratio <= interval.high_s)
        error = error.after(5.0, 5.0 * ratio)
    assert fmean(hits) == pytest.approx(0.9, abs=0.03)
    assert error.std == pytest.approx(std, rel=0.5)


def test_each_repair_is_taken_into_account_once() -> None:
    errors, event = ForecastErrors(), ShardRepaired(at=NOW, report=replace(a_report(), seconds=3.0))
    for _ in range(2):
        errors.handle(event)
    assert errors.by_remedy[Remedy.RETRAIN] == ForecastError().after(event.report.planned.seconds, 3.0)
    assert errors.by_remedy[Remedy.PATCH] == ForecastError()


def test_a_repair_that_was_not_carried_out_as_planned_is_ignored() -> None:
    errors, report = ForecastErrors(), a_report()
    errors.handle(ShardRepaired(at=NOW, report=replace(report, remedy=Remedy.PATCH)))
    errors.handle(ShardRepaired(at=NOW, report=replace(report, command_id="empty", seconds=0.0)))
    errors.handle(RevocationsAccepted(at=NOW, requests=(), generation=1))
    assert set(errors.by_remedy.values()) == {ForecastError()}


@given(
    before=st.floats(1e-6, 1.0),
    measured=st.floats(1e-6, 1.0),
    passes=st.floats(0.0, 1e5),
    whole=st.integers(1, 100_000),
)
def test_seconds_per_pass_move_towards_a_measurement_by_its_share_of_passes(
    before: float, measured: float, passes: float, whole: int
) -> None:
    learned = update_seconds_per_pass(before, whole_passes=whole, passes=passes, seconds=measured * passes)
    share = passes / (whole + passes)
    assert learned == pytest.approx(before + share * (measured - before))
    assert update_seconds_per_pass(before, whole_passes=0, passes=0.0, seconds=0.0) == before
