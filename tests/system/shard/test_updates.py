"""Recorded contributions: a patch subtracts them, and never twice."""

from pathlib import Path

import pytest
import torch

from raymu.core.records import Remedy
from raymu.store.run import RunStore
from raymu.training.recorded_updates import UpdateLog
from tests.support.coordinated_run import lineage_of, samples_of, state_files, weights_of
from tests.support.trained_runs import TrainedRunFactory, weights_without


def update_logs(location: Path, shard: int) -> list[UpdateLog]:
    store = RunStore(str(location))
    refs = [ref for ref in lineage_of(location, shard).updates if ref]
    return [UpdateLog.load(store.files.read_checked(ref), source=ref.path) for ref in refs]


@pytest.mark.parametrize("contributions", ["group", "batch"])
def test_subtracted_updates_are_zero_and_never_subtracted_again(
    trained_run: TrainedRunFactory, contributions: str
) -> None:
    unlearning = {"contributions": contributions, "groups_per_slice": 2, "calibration": False}
    run = trained_run(unlearning=unlearning)
    before = update_logs(run.location, 0)
    ids = run.ids(shard=0, slice_index=1)
    run.revoke(ids[:1], strategy="dpus")
    forget = samples_of(run.config, ids[:1])
    for was, log in zip(before, update_logs(run.location, 0), strict=True):
        is_touched = was.forgotten_by_row(forget) > 0
        assert torch.equal(log.consumed, is_touched)
        assert not log.updates[is_touched].any()
        assert torch.equal(log.updates[~is_touched], was.updates[~is_touched])
        assert not bool(was.consumed.any())
        assert not log.forgotten_by_row(forget).any()
    assert state_files(run.location, 0) == {ref.path for ref in lineage_of(run.location, 0).files}


def test_a_group_that_is_spent_already_leads_to_a_retrain(trained_run: TrainedRunFactory) -> None:
    unlearning = {"contributions": "group", "groups_per_slice": 1, "calibration": False}
    run = trained_run(unlearning=unlearning)
    ids = run.ids(shard=0, slice_index=1)
    first, second = run.revoke(ids[:1], strategy="dpus"), run.revoke(ids[1:2], strategy="dpus")
    assert (first.shards[0].remedy, second.shards[0].remedy) == (Remedy.PATCH, Remedy.RETRAIN)
    assert "no recorded update is left to subtract for 1 forgotten sample" in second.shards[0].reason
    assert run.weights == weights_without(run.config, ids[:2])


def test_uncalibrated_updates_are_subtracted_as_recorded(trained_run: TrainedRunFactory) -> None:
    unlearning = {"contributions": "group", "groups_per_slice": 1, "calibration": False}
    run = trained_run(unlearning=unlearning)
    logs, before = update_logs(run.location, 0), weights_of(run.location, 0)
    ids = run.ids(shard=0, slice_index=1)
    run.revoke(ids[:2], strategy="dpus")
    expected = torch.stack([log.updates[1].float() * (2 / len(ids)) for log in logs[1:]]).sum(dim=0)
    assert torch.allclose(before - weights_of(run.location, 0), expected, atol=1e-5)


def test_a_replay_deletes_the_updates_of_repeated_stages(trained_run: TrainedRunFactory) -> None:
    unlearning = {"contributions": "group", "groups_per_slice": 3, "boundary": 0.0, "ohs": {"remedy": "replay"}}
    run = trained_run(unlearning=unlearning)
    receipt = run.revoke(run.ids(shard=0)[:5], strategy="ohs")
    assert receipt.shards[0].remedy is Remedy.REPLAY
    assert [ref is not None for ref in lineage_of(run.location, 0).updates] == [True, True, False]
