from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.config import OhsConfig, UnlearningConfig
from raymu.core.records import Remedy
from raymu.core.remedies import FORWARD_SHARE, MOST_UNSEEN, STATISTICS_RECOMPUTED, training_passes
from raymu.core.run_shape import RunShape
from raymu.core.workload import makespan, shard_workload
from tests.unit.core.examples import EPOCHS, lineage

SHAPE = RunShape(unlearning=UnlearningConfig(), epochs=EPOCHS)


@given(slices=st.integers(1, 12), data=st.data())
def test_the_fraction_has_its_closed_form_for_equal_slices(slices: int, data: st.DataObject) -> None:
    earliest = data.draw(st.integers(0, slices - 1))
    shard = lineage(slice_samples=(100,) * slices)
    counts = {earliest: 1}
    workload = shard_workload(shard, counts, shape=RunShape(unlearning=UnlearningConfig(), epochs=(3,) * slices))
    expected = (slices * (slices + 1) - earliest * (earliest + 1)) / (slices * (slices + 1))
    assert workload.retrain_fraction == pytest.approx(expected, abs=0.02)


def test_passes_count_the_retained_samples_of_every_retrained_stage() -> None:
    workload = shard_workload(lineage(), {1: 2, 3: 1}, shape=SHAPE)
    assert workload.passes[Remedy.RETRAIN] == 2 * 18 + 2 * 28 + 2 * 37
    assert workload.touched_samples == 3
    assert workload.seconds(Remedy.RETRAIN) == pytest.approx(166 * 0.01)


def test_retraining_starts_below_an_earlier_debt() -> None:
    indebted = lineage(tainted_from=1, debts=("r0",))
    workload = shard_workload(indebted, {3: 1}, shape=SHAPE)
    assert workload.earliest_slice == 1


def test_a_shard_without_samples_costs_nothing() -> None:
    workload = shard_workload(lineage(slice_samples=(1, 0, 0, 0)), {0: 1}, shape=SHAPE)
    assert workload.passes[Remedy.RETRAIN] == 0
    assert workload.retrain_fraction == 0.0


def test_a_destroyed_checkpoint_cannot_be_replayed() -> None:
    touched = {3: 1}
    assert Remedy.REPLAY in shard_workload(lineage(), touched, shape=SHAPE).possible
    indebted = lineage(tainted_from=2, debts=("r0",))
    assert Remedy.REPLAY not in shard_workload(indebted, touched, shape=SHAPE).possible


def test_a_patch_pays_for_its_references_and_its_batch_norm_statistics() -> None:
    def patch(*references: int, has_batch_norm: bool = False) -> float:
        shape = replace(SHAPE, has_batch_norm=has_batch_norm)
        return shard_workload(lineage(), {1: 6}, shape=shape, references=references).passes[Remedy.PATCH]

    drawn = 34 / 4
    assert patch(*(40,) * 5) - patch(40) == pytest.approx(4 * (6 + 6 + drawn) * FORWARD_SHARE)
    steps = SHAPE.unlearning.curvature.steps
    statistics = (STATISTICS_RECOMPUTED + 2 * steps) * 34 * FORWARD_SHARE
    assert patch(has_batch_norm=True) - patch(has_batch_norm=False) == pytest.approx(statistics)


def test_a_shard_alone_measures_the_strength_on_samples_that_its_checkpoint_has_not_seen() -> None:
    """The fewer they are, the more samples are left to estimate the curvature from, at a higher cost."""

    def patch(*references: int, earliest: int) -> float:
        return shard_workload(lineage(), {earliest: 1}, shape=SHAPE, references=references).passes[Remedy.PATCH]

    assert patch(earliest=3) > patch(earliest=1) > patch(40, earliest=1) == patch(40, earliest=3)


def test_evaluating_each_epoch_on_unseen_samples_is_paid_for() -> None:
    def fine_tuning(*references: int) -> float:
        shape = replace(SHAPE, unlearning=UnlearningConfig(calibration=False, ohs=OhsConfig(epochs=3)))
        passes = shard_workload(lineage(), {1: 6}, shape=shape, references=references).passes
        return passes[Remedy.FINE_TUNE] - passes[Remedy.PATCH] - 6 * FORWARD_SHARE

    assert fine_tuning() == pytest.approx(10)
    assert fine_tuning(60, 90) == pytest.approx(3 * 10 + 4 * 60 * FORWARD_SHARE)
    assert fine_tuning(9000) == pytest.approx(fine_tuning(MOST_UNSEEN))


def test_passes_of_a_training_stage_are_those_of_its_slices() -> None:
    assert training_passes((5, 6, 7), (1, 2, 3), stages=[0, 2]) == 5 + 3 * 18


@given(seconds=st.lists(st.floats(0.0, 100.0), max_size=30), workers=st.integers(1, 8))
def test_a_makespan_is_between_its_bounds(seconds: list[float], workers: int) -> None:
    """The bounds are the perfect split and Graham's bound."""
    seconds_needed = makespan(seconds, workers=workers)
    least = max(sum(seconds) / workers, max(seconds, default=0.0))
    assert least - 1e-9 <= seconds_needed <= (4 / 3) * least + max(seconds, default=0.0) + 1e-9


def test_with_a_worker_for_each_shard_the_longest_decides() -> None:
    assert makespan([3.0, 1.0, 2.0], workers=3) == 3.0
    assert makespan([3.0, 1.0, 2.0], workers=1) == 6.0


def test_more_workers_than_shards_change_nothing() -> None:
    assert makespan([3.0, 1.0], workers=10**30) == 3.0
    assert makespan([], workers=10**30) == 0.0
