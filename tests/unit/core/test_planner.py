from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.config import OhsConfig, UnlearningConfig
from raymu.config.unlearning import Boundary, Contributions, OhsRemedy, Strategy
from raymu.core.planner import choose_remedies, decide_repairs, forecast
from raymu.core.records import Remedy
from raymu.core.remedies import PATCH_S
from raymu.core.repair_speed import RepairEffort, RepairSpeeds
from raymu.core.run_shape import RunShape
from raymu.core.workload import ShardWorkload, makespan, shard_workload
from tests.unit.core.examples import EPOCHS, SLICES, lineage

CHEAP = Contributions.GRADIENT
"""A patch by these costs less than retraining even a small shard."""
FINE_TUNING = OhsConfig(remedy=OhsRemedy.FINE_TUNE)
"""A replay is not possible, or saves no time, for every shard."""


def workloads_of(
    earliest: list[int], *, ohs: OhsConfig | None = None, each: int = 10, speeds: RepairSpeeds | None = None
) -> list[ShardWorkload]:
    """Return shards with so many samples in each slice, and one to forget in the given slice."""
    unlearning = UnlearningConfig(ohs=ohs or FINE_TUNING, contributions=CHEAP)
    shape = RunShape(unlearning=unlearning, epochs=EPOCHS)
    return [
        shard_workload(
            lineage(shard, slice_samples=(each,) * SLICES),
            {slice_index: 1},
            shape=shape,
            references=(40,),
            speeds=speeds,
        )
        for shard, slice_index in enumerate(earliest)
    ]


slices = st.lists(st.integers(0, SLICES - 1), min_size=1, max_size=8)


def remedies(
    workloads: list[ShardWorkload], strategy: Strategy, boundary: float | str, workers: int = 2
) -> list[Remedy]:
    ohs = FINE_TUNING
    chosen = choose_remedies(workloads, strategy=strategy, boundary=Boundary.parse(boundary), workers=workers, ohs=ohs)
    return [chosen[workload.shard].remedy for workload in workloads]


@given(earliest=slices)
def test_boundary_one_retrains_and_boundary_zero_patches(earliest: list[int]) -> None:
    workloads = workloads_of(earliest)
    for strategy, patched in ((Strategy.HS, Remedy.PATCH), (Strategy.OHS, Remedy.FINE_TUNE)):
        assert remedies(workloads, strategy, 1.0) == remedies(workloads, Strategy.SISA, 0.0)
        assert set(remedies(workloads, strategy, 0.0)) == {patched}
    assert remedies(workloads, Strategy.HS, 0.0) == remedies(workloads, Strategy.DPUS, 1.0)


def test_shards_within_the_boundary_are_retrained_and_the_others_patched() -> None:
    assert remedies(workloads_of([0, 3]), Strategy.HS, 0.45) == [Remedy.PATCH, Remedy.RETRAIN]


@given(earliest=slices, each=st.integers(2, 30), strategy=st.sampled_from([Strategy.HS, Strategy.OHS]))
def test_a_hybrid_retrains_a_shard_if_its_patch_would_save_no_time(
    earliest: list[int], each: int, strategy: Strategy
) -> None:
    workloads = workloads_of(earliest, each=each)
    patched = Remedy.PATCH if strategy is Strategy.HS else Remedy.FINE_TUNE
    for workload, remedy in zip(workloads, remedies(workloads, strategy, 1e-9), strict=True):
        saves_time = workload.seconds(patched) < workload.seconds(Remedy.RETRAIN)
        assert remedy is (patched if saves_time else Remedy.RETRAIN)
    assert set(remedies(workloads, Strategy.DPUS, 1e-9)) == {Remedy.PATCH}
    assert set(remedies(workloads, strategy, 0.0)) == {patched}, "a boundary of 0 asks for patches alone"


def test_the_reason_to_retrain_instead_of_a_patch_has_the_seconds_of_both() -> None:
    """Retraining eleven samples for two epochs takes 0.22 s. Repairs have shown that a patch takes a second."""
    effort = RepairEffort(fixed_s=PATCH_S, passes_s=0.0)
    slow = RepairSpeeds()
    for _ in range(20):
        slow = slow.after(Remedy.PATCH, effort, effort, seconds=1.0, forecast_seconds=1.0, determinism="")
    [workload] = workloads_of([3], each=3, speeds=slow)
    [decision] = choose_remedies(
        [workload], strategy=Strategy.HS, boundary=Boundary.parse(0.1), workers=1, ohs=FINE_TUNING
    ).values()
    assert decision.remedy is Remedy.RETRAIN
    assert decision.reason == "patch would save no time: forecast 1.02 s, retraining 0.22 s"
    assert decision.seconds == workload.seconds(Remedy.RETRAIN)


def test_a_boundary_in_seconds_counts_what_repairs_have_shown() -> None:
    slow = RepairSpeeds()
    [workload] = workloads_of([3])
    boundary = f"{1.5 * workload.seconds(Remedy.RETRAIN)}s"
    assert remedies([workload], Strategy.HS, boundary) == [Remedy.RETRAIN]
    for _ in range(20):
        effort = workload.efforts[Remedy.RETRAIN]
        slow = slow.after(
            Remedy.RETRAIN,
            effort,
            effort,
            seconds=2.0 * effort.passes_s,
            forecast_seconds=effort.passes_s,
            determinism="",
        )
    assert remedies(workloads_of([3], speeds=slow), Strategy.HS, boundary) == [Remedy.PATCH]


def test_a_boundary_in_seconds_bounds_each_shard() -> None:
    workloads = workloads_of([0, 3])
    seconds = workloads[1].seconds(Remedy.RETRAIN)
    assert remedies(workloads, Strategy.HS, f"{seconds}s") == [Remedy.PATCH, Remedy.RETRAIN]


@given(earliest=slices, deadline=st.floats(0.0, 10.0), workers=st.integers(1, 4))
def test_a_deadline_retrains_as_many_shards_as_are_done_in_time(
    earliest: list[int], deadline: float, workers: int
) -> None:
    workloads = workloads_of(earliest)
    chosen = remedies(workloads, Strategy.HS, f"deadline:{deadline}s", workers)
    retrained = [workload for workload, remedy in zip(workloads, chosen, strict=True) if remedy is Remedy.RETRAIN]
    seconds = [workload.seconds(Remedy.RETRAIN) for workload in retrained]
    assert makespan(seconds, workers=workers) <= deadline or not retrained
    left = sorted(workload.seconds(Remedy.RETRAIN) for workload in workloads if workload not in retrained)
    if left:
        assert makespan([*seconds, left[0]], workers=workers) > deadline


def test_replay_is_chosen_where_it_is_cheaper_and_possible() -> None:
    ohs = OhsConfig(remedy=OhsRemedy.REPLAY, slices=1)
    boundary = Boundary.parse(0.0)

    def remedy(workload: ShardWorkload) -> Remedy:
        chosen = choose_remedies([workload], strategy=Strategy.OHS, boundary=boundary, workers=1, ohs=ohs)
        return chosen[workload.shard].remedy

    first, last = workloads_of([0, 3], ohs=ohs)
    assert remedy(first) is Remedy.REPLAY
    assert remedy(last) is Remedy.RETRAIN
    indebted = lineage(tainted_from=1, debts=("r0",))
    shape = RunShape(unlearning=UnlearningConfig(contributions=CHEAP, ohs=ohs), epochs=EPOCHS)
    assert remedy(shard_workload(indebted, {0: 1}, shape=shape, references=(40,))) is Remedy.FINE_TUNE


def test_an_emptied_shard_is_retrained_under_any_strategy() -> None:
    empty = shard_workload(
        lineage(slice_samples=(1, 0, 0, 0)), {0: 1}, shape=RunShape(unlearning=UnlearningConfig(), epochs=EPOCHS)
    )
    assert remedies([empty], Strategy.DPUS, 0.0) == [Remedy.RETRAIN]


def test_a_patch_without_a_calibration_reference_is_planned_as_a_retraining() -> None:
    def remedy(slice_index: int, **unlearning: Any) -> Remedy:
        shape = RunShape(unlearning=UnlearningConfig(**unlearning), epochs=EPOCHS)
        alone = shard_workload(lineage(), {slice_index: 1}, shape=shape)
        return remedies([alone], Strategy.DPUS, 0.0)[0]

    assert [remedy(0), remedy(1)] == [Remedy.RETRAIN, Remedy.PATCH]
    assert remedy(0, calibration=False) is Remedy.PATCH


def test_a_replay_without_a_calibration_reference_says_so_even_if_it_would_not_be_cheaper() -> None:
    ohs = OhsConfig(remedy=OhsRemedy.REPLAY, slices=SLICES - 1)
    shape = RunShape(unlearning=UnlearningConfig(contributions=CHEAP, ohs=ohs), epochs=EPOCHS)
    alone = shard_workload(lineage(), {0: 9}, shape=shape)
    assert alone.passes[Remedy.RETRAIN] <= alone.passes[Remedy.REPLAY]
    chosen = choose_remedies([alone], strategy=Strategy.OHS, boundary=Boundary.parse(0.0), workers=1, ohs=ohs)
    assert chosen[0].reason == "no model that never saw these samples is there to calibrate a patch by"


def test_the_most_exact_requested_remedy_serves_all() -> None:
    workloads = workloads_of([0, 0])
    wishes = {
        (Strategy.DPUS, Boundary.parse(0.5)): frozenset({0, 1}),
        (Strategy.OHS, Boundary.parse(0.0)): frozenset({1}),
        (Strategy.SISA, Boundary.parse(0.5)): frozenset({0}),
    }
    chosen = decide_repairs(workloads, wishes, {}, workers=1, ohs=FINE_TUNING)
    assert {shard: decision.remedy for shard, decision in chosen.items()} == {0: Remedy.RETRAIN, 1: Remedy.FINE_TUNE}
    reason = "one of the requests that share it asked for sisa: sisa always retrains"
    assert chosen[0].reason == reason


def test_a_reason_that_all_requests_share_is_kept() -> None:
    wishes = {
        (Strategy.DPUS, Boundary.parse(0.5)): frozenset({0}),
        (Strategy.DPUS, Boundary.parse(0.6)): frozenset({0}),
    }
    [decision] = decide_repairs(workloads_of([0]), wishes, {}, workers=1, ohs=FINE_TUNING).values()
    assert decision.reason == "dpus always patches"


def test_a_shard_that_must_be_retrained_is_not_patched_for_its_requests() -> None:
    wishes = {
        (Strategy.DPUS, Boundary.parse(0.5)): frozenset({0}),
        (Strategy.SISA, Boundary.parse(0.5)): frozenset({1}),
    }
    to_retrain = dict.fromkeys(range(3), "it is time")
    chosen = decide_repairs(workloads_of([0, 0, 0]), wishes, to_retrain, workers=1, ohs=FINE_TUNING)
    assert {decision.remedy for decision in chosen.values()} == {Remedy.RETRAIN}
    assert [chosen[shard].reason for shard in range(3)] == ["it is time", "sisa always retrains", "it is time"]


def test_a_forecast_compares_all_four_strategies() -> None:
    forecasts = forecast(workloads_of([0, 3]), boundary=Boundary.parse(0.45), workers=2, ohs=FINE_TUNING)
    assert list(forecasts) == list(Strategy)
    assert forecasts[Strategy.DPUS].passes < forecasts[Strategy.HS].passes < forecasts[Strategy.SISA].passes
    assert forecasts[Strategy.SISA].makespan_seconds < forecasts[Strategy.SISA].seconds


@pytest.mark.parametrize("text", ["soon", "-1", "1.5", "deadline:", "nan", "s"])
def test_impossible_boundaries_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="boundary"):
        Boundary.parse(text)


@pytest.mark.parametrize("text", ["0.35", "30s", "deadline:60s"])
def test_boundaries_keep_their_text(text: str) -> None:
    assert str(Boundary.parse(text)) == text
