"""Work that is interrupted, arrives late, or belongs to a superseded coordinator."""

import asyncio

import pytest

from raymu.core.records import Exactness, SampleId, ShardState
from raymu.errors import CoordinatorSuperseded, ShardRepairFailed
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import RepairTask, no_progress
from raymu.service.shard.worker import ShardWorker
from tests.support.coordinated_run import (
    constituent_of,
    history_of,
    ids_at,
    lineage_of,
    raw_ids_in_journal,
    state_files,
    until_nothing_moves,
)
from tests.support.examples import revoke, settle
from tests.support.scripted_fleet import ScriptedFleet
from tests.support.trained_runs import TrainedRun, TrainedRunFactory, weights_without


def break_off(run: TrainedRun, ids: list[SampleId], strategy: str = "sisa", *, after_stages: int = 0) -> Coordinator:
    coordinator = run.open(ScriptedFleet(run.store, fail_after=after_stages))
    with pytest.raises(ShardRepairFailed, match="the worker is gone") as failure:
        revoke(coordinator, ids, strategy=strategy)
    assert failure.value.exit_code == 1
    return coordinator


@pytest.mark.parametrize("strategy", ["sisa", "dpus", "ohs"])
@pytest.mark.parametrize("is_reopened", [True, False])
def test_an_interrupted_repair_is_finished_later(
    trained_run: TrainedRunFactory, strategy: str, is_reopened: bool
) -> None:
    run = trained_run()
    ids = run.ids(shard=0, slice_index=1)[:3]
    coordinator = break_off(run, ids, strategy)
    [pending] = coordinator.receipts()
    assert (pending.published_at, pending.purged_at) == (None, None)
    assert constituent_of(run.location, 0).state is ShardState.REWOUND
    assert raw_ids_in_journal(run.location) == 3

    if is_reopened:
        coordinator = run.open()
    report = asyncio.run(coordinator.settle(no_progress))
    assert report.shards == (0,)
    assert coordinator.receipt(pending.request_id).exactness is Exactness.EXACT
    assert raw_ids_in_journal(run.location) == 0
    assert run.weights == weights_without(run.config, ids)


def test_the_same_key_after_a_failed_repair_resumes_it(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    ids = run.ids(shard=0)[:3]
    coordinator = run.open(ScriptedFleet(run.store, fail_after=0))
    with pytest.raises(ShardRepairFailed, match="the worker is gone"):
        revoke(coordinator, ids, strategy="sisa", key="k1")
    receipt = revoke(coordinator, ids, strategy="sisa", key="k1")
    assert (receipt.purged_at is not None, receipt.exactness) == (True, Exactness.EXACT)
    assert run.weights == weights_without(run.config, ids)


@pytest.mark.parametrize("is_reopened", [True, False])
def test_an_interrupted_settlement_is_a_failure_and_is_finished_later(
    trained_run: TrainedRunFactory, is_reopened: bool
) -> None:
    run = trained_run()
    ids = run.ids(shard=0, slice_index=1)[:3]
    patched = revoke(run.open(), ids, strategy="dpus")
    coordinator = run.open(ScriptedFleet(run.store, fail_after=1))
    with pytest.raises(ShardRepairFailed, match=r"shard 0 .*the worker is gone"):
        settle(coordinator)
    assert lineage_of(run.location, 0).debts == (patched.request_id,)
    if is_reopened:
        coordinator = run.open()
    report = asyncio.run(coordinator.settle(no_progress))
    assert (report.shards, report.request_ids) == ((0,), (patched.request_id,))
    assert run.weights == weights_without(run.config, ids)


def test_running_work_is_not_started_again(trained_run: TrainedRunFactory) -> None:
    run = trained_run()

    async def revoke_while_a_repair_is_held() -> list[RepairTask]:
        held = ScriptedFleet(run.store, hold=[0])
        coordinator = Coordinator(run.store, held)
        requests = []
        for shard in (0, 1):
            revocation = Revocation(ids=tuple(run.ids(shard=shard)[:2]))
            requests.append(asyncio.create_task(coordinator.revoke([revocation], no_progress)))
            await until_nothing_moves()
        held.gates[0].set()
        await asyncio.gather(*requests)
        return held.repairs

    repairs = asyncio.run(revoke_while_a_repair_is_held())
    assert [task.command.shard for task in repairs] == [0, 1]


def test_the_next_request_resumes_interrupted_work_too(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    ids = run.ids(shard=0)
    first = break_off(run, ids[:2]).receipts()[0].request_id
    coordinator = run.open()
    receipt = revoke(coordinator, ids[2:4], strategy="sisa")
    assert receipt.shards[0].requests == 2
    assert coordinator.receipt(first).purged_at is not None
    assert run.weights == weights_without(run.config, ids[:4])


def test_checkpoints_of_an_interrupted_repair_do_not_outlive_the_next_repair(trained_run: TrainedRunFactory) -> None:
    """These checkpoints have seen the samples of the second request."""
    run = trained_run()
    ids = run.ids(shard=0, slice_index=0)
    break_off(run, ids[:2], after_stages=2)
    revoke(run.open(), ids[2:4], strategy="sisa")
    assert state_files(run.location, 0) == {ref.path for ref in lineage_of(run.location, 0).files}


def test_a_report_whose_reply_was_lost_is_used(trained_run: TrainedRunFactory) -> None:
    run = trained_run()

    def lose_the_reply(task: RepairTask) -> None:
        assert list(ShardWorker(run.store).run(task))
        raise ConnectionError("the reply is lost")

    ids = run.ids(shard=0)[:3]
    receipt = revoke(run.open(ScriptedFleet(run.store, before=lose_the_reply)), ids, strategy="sisa")
    assert receipt.purged_at is not None
    assert list((run.location / "reports").iterdir()) == []
    assert run.weights == weights_without(run.config, ids)


def test_a_failure_on_one_shard_lets_the_others_finish(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    ids = [*run.ids(shard=0)[:2], *run.ids(shard=1)[:2]]
    coordinator = break_off(run, ids)
    [pending] = coordinator.receipts()
    assert len(pending.shards) == 1
    settle(coordinator)
    assert len(coordinator.receipt(pending.request_id).shards) == 2
    assert run.weights == weights_without(run.config, ids)


def test_a_superseded_coordinator_can_accept_nothing(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    earlier = run.open()
    later = run.open()
    before = history_of(run.location)
    with pytest.raises(CoordinatorSuperseded) as refusal:
        revoke(earlier, ids_at(run.config)[:1])
    assert refusal.value.current == refusal.value.term + 1
    with pytest.raises(CoordinatorSuperseded):
        settle(earlier)
    assert history_of(run.location) == before
    assert revoke(later, ids_at(run.config)[:1]).purged_at is not None


def test_a_coordinator_superseded_during_a_repair_says_so_and_the_later_one_takes_over(
    trained_run: TrainedRunFactory,
) -> None:
    run = trained_run()
    ids = run.ids(shard=0)[:3]
    later: list[Coordinator] = []
    fleet = ScriptedFleet(run.store, before=lambda _task: later.append(run.open()))
    with pytest.raises(CoordinatorSuperseded):
        revoke(Coordinator(run.store, fleet), ids, strategy="sisa")
    settle(later[0])
    assert run.weights == weights_without(run.config, ids)


def test_two_callers_of_one_coordinator_wait_for_the_same_shard(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    ids = run.ids(shard=0)
    coordinator = run.open()

    async def both() -> None:
        await asyncio.gather(
            coordinator.revoke([Revocation(ids=tuple(ids[:2]), strategy="dpus")], no_progress),
            coordinator.revoke([Revocation(ids=tuple(ids[2:4]), strategy="sisa")], no_progress),
        )

    asyncio.run(both())
    assert {receipt.exactness for receipt in coordinator.receipts()} == {Exactness.EXACT}
    assert run.weights == weights_without(run.config, ids[:4])


def test_a_request_is_not_settled_while_a_shard_of_it_is_only_patched(trained_run: TrainedRunFactory) -> None:
    run = trained_run(partition={"shards": 3})
    first, second, third = (run.ids(shard=shard) for shard in range(3))

    async def patch_two_shards_and_retrain_one_of_them_in_between() -> Coordinator:
        fleet = ScriptedFleet(run.store, hold=[1, 2])
        coordinator = Coordinator(run.store, fleet)
        patch = Revocation(ids=(first[0], second[0]), strategy="dpus")
        retrain = Revocation(ids=(first[1], third[0]), strategy="sisa")
        requests = []
        for revocation in (patch, retrain):
            requests.append(asyncio.create_task(coordinator.revoke([revocation], no_progress)))
            await until_nothing_moves()  # shard 0 is done, the other one is held
        for shard in (1, 2):
            fleet.gates[shard].set()
            await until_nothing_moves()
        await asyncio.gather(*requests)
        return coordinator

    coordinator = asyncio.run(patch_two_shards_and_retrain_one_of_them_in_between())
    receipt = coordinator.receipts()[0]
    assert lineage_of(run.location, 1).debts == (receipt.request_id,)
    assert (receipt.exactness, receipt.settled_at) == (Exactness.APPROXIMATE, None)
    settle(coordinator)
    assert coordinator.receipt(receipt.request_id).exactness is Exactness.EXACT


def test_a_superseded_coordinator_resumes_nothing(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    ids = run.ids(shard=0)[:3]
    with pytest.raises(KeyboardInterrupt):
        revoke(run.open(ScriptedFleet(run.store, before=interrupt)), ids, strategy="sisa")
    earlier = run.open()
    settle(run.open())
    before = history_of(run.location)
    with pytest.raises(CoordinatorSuperseded):
        settle(earlier)
    assert history_of(run.location) == before


def interrupt(_task: RepairTask) -> None:
    raise KeyboardInterrupt
