"""One shard's record, without a board."""

from raymu.config import UnlearningConfig
from raymu.core.board.shard_work import ShardWork, repair_command
from raymu.core.commands import RepairShard
from raymu.core.planner import retrain
from raymu.core.requests import touched_slices
from raymu.core.run_shape import RunShape
from raymu.core.workload import shard_workload
from tests.unit.core.examples import EPOCHS, lineage, request


def command(work: ShardWork) -> RepairShard:
    workload = shard_workload(work.lineage, {1: 1}, shape=RunShape(unlearning=UnlearningConfig(), epochs=EPOCHS))
    return repair_command(work, workload, retrain(workload, "a test"), references=())


def test_a_repair_includes_all_waiting_requests_and_those_of_a_failed_repair_come_first_again() -> None:
    work = ShardWork(lineage=lineage(), waiting=["r1", "r2"])
    work.start(command(work), {})
    assert (work.pending, work.waiting) == (["r1", "r2"], [])
    work.waiting.append("r3")
    work.fail()
    assert work.waiting == ["r1", "r2", "r3"]
    assert work.is_idle_with_work


def test_the_same_work_has_the_same_command_id() -> None:
    first, again, more = (ShardWork(lineage=lineage(), waiting=ids) for ids in (["r1"], ["r1"], ["r1", "r2"]))
    assert command(first).command_id == command(again).command_id != command(more).command_id


def test_a_failed_settlement_is_repeated_and_a_successful_one_is_not() -> None:
    work = ShardWork(lineage=lineage(tainted_from=1, debts=("r1",)), must_settle=True)
    work.start(command(work), {})
    assert work.is_settling
    work.fail()
    assert work.retrain_reason == "what the shard owes is settled with it"
    work.start(command(work), {})
    work.finish(lineage(), retrained_from=1)
    assert work.retrain_reason is None
    assert not work.is_idle_with_work


def test_lost_files_are_restored_by_a_retraining_that_starts_early_enough() -> None:
    work = ShardWork(lineage=lineage())
    for stage in (2, 3):
        work.lose_from(stage)
    assert (work.lost_from, work.retrain_reason) == (2, "files of the shard were lost")
    for retrained_from, is_left in ((None, True), (3, True), (2, False)):
        work.start(command(work), {})
        work.finish(lineage(), retrained_from=retrained_from)
        assert (work.lost_from is not None) is is_left


def test_requests_for_a_shard_touch_its_slices_together() -> None:
    requests = [request("r1", {0: {1: 2}, 1: {0: 1}}), request("r2", {0: {1: 1, 3: 4}})]
    assert touched_slices(requests, 0) == {1: 3, 3: 4}
    assert touched_slices(requests, 1) == {0: 1}
    assert touched_slices(requests, 2) == {}
