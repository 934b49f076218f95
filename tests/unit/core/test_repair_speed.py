"""The seconds of repairs: before any is done, after one, after many, and where nothing but their sum can be learned."""

from dataclasses import replace
from math import exp, log
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.records import Cost, Remedy
from raymu.core.repair_speed import (
    PATCHING_DOUBT,
    TRAINING_DOUBT,
    RepairEffort,
    RepairSpeed,
    RepairSpeeds,
    device_kind,
    training_speed,
    update_seconds_per_pass,
)

CPU = '{"device": "cpu AVX2", "dtype": "float32", "threads": 1, "torch": "2.9.0"}'
EFFORT = RepairEffort(fixed_s=0.01, passes_s=0.03)
NEW = RepairSpeed(doubt=PATCHING_DOUBT)

efforts = st.builds(RepairEffort, fixed_s=st.floats(1e-4, 1e2), passes_s=st.floats(1e-4, 1e4))
factors = st.floats(0.05, 20.0)


def after_repairs(efforts: list[RepairEffort], fixed: float, passes: float, speed: RepairSpeed = NEW) -> RepairSpeed:
    """Return what is known after repairs by other factors than those that are assumed at first."""
    for effort in efforts:
        seconds = fixed * effort.fixed_s + passes * effort.passes_s
        speed = speed.after(effort, effort, seconds=seconds, forecast_seconds=speed.seconds_of(effort))
    return speed


@given(effort=efforts)
def test_before_any_repair_the_median_is_the_effort_and_retraining_is_the_less_doubtful(effort: RepairEffort) -> None:
    patching, training = NEW.interval(effort), RepairSpeed(doubt=TRAINING_DOUBT).interval(effort)
    assert patching.expected_s == training.expected_s == pytest.approx(effort.fixed_s + effort.passes_s)
    assert patching.low_s < training.low_s < effort.fixed_s + effort.passes_s < training.high_s < patching.high_s


@given(effort=efforts, factor=st.floats(0.25, 4.0))
def test_one_repair_replaces_most_of_the_first_assumption(effort: RepairEffort, factor: float) -> None:
    speed = after_repairs([effort], factor, factor)
    interval = speed.interval(effort)
    assert (
        abs(log(interval.expected_s / (factor * (effort.fixed_s + effort.passes_s)))) <= 0.25 * abs(log(factor)) + 1e-9
    )
    before = NEW.interval(effort)
    assert interval.high_s / interval.low_s < before.high_s / before.low_s


@given(effort=efforts, fixed=factors, passes=factors)
def test_identical_repairs_are_forecast_right_though_their_parts_are_not_known(
    effort: RepairEffort, fixed: float, passes: float
) -> None:
    speed = after_repairs([effort] * 30, fixed, passes)
    assert speed.seconds_of(effort) == pytest.approx(fixed * effort.fixed_s + passes * effort.passes_s, rel=0.02)
    interval = speed.interval(effort)
    assert interval.low_s <= fixed * effort.fixed_s + passes * effort.passes_s <= interval.high_s


def test_identical_repairs_leave_the_forecast_of_others_doubtful() -> None:
    speed = after_repairs([RepairEffort(fixed_s=1.0, passes_s=1e-6)] * 40, 3.0, 3.0)
    same, other = speed.interval(RepairEffort(fixed_s=1.0, passes_s=0.0)), speed.interval(EFFORT)
    assert other.high_s / other.low_s > 2.0 * same.high_s / same.low_s


@given(fixed=factors, passes=factors)
def test_fixed_seconds_and_those_of_passes_are_distinguished_by_repairs_of_different_sizes(
    fixed: float, passes: float
) -> None:
    sizes = [RepairEffort(fixed_s=0.01, passes_s=passes_s) for passes_s in (0.0001, 0.001, 0.01, 0.1, 1.0)]
    speed = after_repairs(sizes * 20, fixed, passes)
    assert exp(speed.log_fixed) == pytest.approx(fixed, rel=0.1)
    assert exp(speed.log_passes) == pytest.approx(passes, rel=0.1)


def test_recent_repairs_weigh_more() -> None:
    slow_first = after_repairs([EFFORT] * 30, 1.0, 1.0, after_repairs([EFFORT] * 30, 4.0, 4.0))
    fast_first = after_repairs([EFFORT] * 30, 4.0, 4.0, after_repairs([EFFORT] * 30, 1.0, 1.0))
    assert slow_first.seconds_of(EFFORT) == pytest.approx(0.04, rel=0.1)
    assert fast_first.seconds_of(EFFORT) == pytest.approx(0.16, rel=0.1)


@pytest.mark.parametrize("spread", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("is_alike", [True, False], ids=["identical", "different"])
def test_nine_in_ten_repairs_are_within_their_interval(spread: float, is_alike: bool) -> None:
    random, speed = np.random.default_rng(3), NEW
    for _ in range(2000):
        effort = EFFORT if is_alike else RepairEffort(fixed_s=0.01, passes_s=float(10 ** random.uniform(-4, 0)))
        seconds = (3.0 * effort.fixed_s + 0.4 * effort.passes_s) * exp(random.normal(0.0, spread))
        speed = speed.after(effort, effort, seconds=seconds, forecast_seconds=speed.seconds_of(effort))
    assert speed.repairs == 2000
    assert speed.within / speed.repairs == pytest.approx(0.9, abs=0.03)
    assert log(speed.error_ratio) / 1.645 == pytest.approx(spread, rel=0.5)


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_intervals_cover_and_forecasts_centre_after_five_repairs(factor: float) -> None:
    """Over many runs whose first assumption is wrong by a factor of five."""
    hits, errors = [], []
    for run in range(300):
        random, speed = np.random.default_rng(run), NEW
        for number in range(6):
            effort = RepairEffort(fixed_s=0.01, passes_s=float(random.uniform(0.001, 0.05)))
            seconds = (factor * effort.fixed_s + effort.passes_s) * exp(random.normal(0.0, 0.1))
            if number == 5:
                interval = speed.interval(effort)
                hits.append(interval.low_s <= seconds <= interval.high_s)
                errors.append(log(seconds / interval.expected_s))
            speed = speed.after(effort, effort, seconds=seconds, forecast_seconds=speed.seconds_of(effort))
    assert fmean(hits) >= 0.9
    assert abs(fmean(errors)) < 0.1


def test_patches_that_find_nothing_to_do_widen_the_interval_and_leave_the_forecast_of_the_others() -> None:
    """Every third one ends after a hundredth of its passes."""
    nothing, speed, hits = RepairEffort(fixed_s=0.01, passes_s=0.0003), NEW, []
    for number in range(60):
        effort = nothing if number % 3 == 2 else EFFORT
        interval, seconds = speed.interval(EFFORT), 2.0 * effort.fixed_s + 0.5 * effort.passes_s
        hits.append(interval.low_s <= seconds <= interval.high_s)
        speed = speed.after(EFFORT, effort, seconds=seconds, forecast_seconds=interval.expected_s)
    assert speed.seconds_of(EFFORT) == pytest.approx(0.035, rel=0.02)
    assert speed.within == sum(hits) >= 0.9 * len(hits)


def test_passes_that_are_forecast_too_high_are_learned() -> None:
    speed, fewer = NEW, replace(EFFORT, passes_s=0.7 * EFFORT.passes_s)
    for _ in range(20):
        speed = speed.after(EFFORT, fewer, seconds=0.031, forecast_seconds=speed.seconds_of(EFFORT))
    assert speed.seconds_of(EFFORT) == pytest.approx(0.031, rel=0.02)


def test_totals_compare_what_was_forecast_with_what_it_took() -> None:
    speed = NEW.after(EFFORT, EFFORT, seconds=0.08, forecast_seconds=0.04).after(
        EFFORT, EFFORT, seconds=0.08, forecast_seconds=0.07
    )
    assert speed.repairs == 2
    assert (speed.forecast_seconds, speed.seconds) == pytest.approx((0.11, 0.16))


def test_each_remedy_is_learned_on_each_device() -> None:
    speeds = RepairSpeeds()
    for remedy, seconds in ((Remedy.PATCH, 0.4), (Remedy.RETRAIN, 0.04)):
        speeds = speeds.after(remedy, EFFORT, EFFORT, seconds=seconds, forecast_seconds=0.04, determinism=CPU)
    assert [speeds.of(remedy).repairs for remedy in Remedy] == [1, 1, 0, 0]
    assert speeds.of(Remedy.PATCH).seconds_of(EFFORT) > 5 * speeds.of(Remedy.FINE_TUNE).seconds_of(EFFORT)
    moved = speeds.after(
        Remedy.RETRAIN, EFFORT, EFFORT, seconds=0.04, forecast_seconds=0.04, determinism=CPU.replace("cpu AVX2", "T4")
    )
    assert moved.of(Remedy.PATCH) == NEW, "nothing is known of patches there"
    back = moved.after(Remedy.RETRAIN, EFFORT, EFFORT, seconds=0.04, forecast_seconds=0.04, determinism=CPU)
    assert back.of(Remedy.PATCH) == speeds.of(Remedy.PATCH), "what was learned on a device is kept"


def test_a_simulated_repair_is_on_the_present_kind_of_device() -> None:
    learned = after_a_repair(RepairSpeeds(), CPU)
    simulated = after_a_repair(learned, "")
    assert (simulated.device, simulated.of(Remedy.PATCH).repairs) == (learned.device, 2)


def after_a_repair(speeds: RepairSpeeds, determinism: str) -> RepairSpeeds:
    return speeds.after(Remedy.PATCH, EFFORT, EFFORT, seconds=0.4, forecast_seconds=0.04, determinism=determinism)


def test_a_kind_of_device_does_not_depend_on_the_version_of_the_software() -> None:
    assert device_kind(CPU) == device_kind(CPU.replace("2.9.0", "2.10.0")) == "device cpu AVX2, threads 1"
    assert device_kind(CPU) != device_kind(CPU.replace('"threads": 1', '"threads": 4'))
    assert device_kind("") == device_kind("{}") == ""


def test_a_repair_without_effort_or_seconds_teaches_nothing() -> None:
    speeds, nothing = RepairSpeeds(), RepairEffort(fixed_s=0.0, passes_s=0.0)
    for effort, seconds in ((nothing, 1.0), (EFFORT, 0.0)):
        after = speeds.after(Remedy.PATCH, effort, effort, seconds=seconds, forecast_seconds=0.0, determinism=CPU)
        assert after == speeds
    assert NEW.interval(nothing).high_s == 0.0


@given(per_pass=st.floats(1e-7, 1e-2), per_stage=st.floats(1e-4, 10.0), first=st.integers(1, 5000))
def test_the_speed_of_training_is_measured_though_its_first_stage_was_slow(
    per_pass: float, per_stage: float, first: int
) -> None:
    stages = [Cost(passes=first * stage, seconds=per_stage + per_pass * first * stage) for stage in range(1, 6)]
    stages[0] = replace(stages[0], seconds=stages[0].seconds + 3.0)
    speed = training_speed(stages)
    assert speed.seconds_per_pass == pytest.approx(per_pass, rel=1e-3)
    assert speed.seconds_per_stage == pytest.approx(per_stage, rel=1e-3, abs=1e-6)


def test_where_stages_do_not_show_fixed_seconds_all_are_those_of_passes() -> None:
    for stages in (
        [Cost(passes=100, seconds=2.0)],
        [Cost(passes=100, seconds=2.0), Cost(passes=100, seconds=4.0)],
        [Cost(passes=100, seconds=5.0), Cost(passes=200, seconds=4.0)],
        [Cost(passes=100, seconds=1.0), Cost(passes=200, seconds=4.0)],
    ):
        speed = training_speed(stages)
        assert speed.seconds_per_stage == 0.0
        assert speed.seconds_per_pass == sum(stage.seconds for stage in stages) / sum(stage.passes for stage in stages)


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
