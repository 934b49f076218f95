from dataclasses import replace
from typing import Any

from raymu.config import UnlearningConfig
from raymu.config.unlearning import Strategy
from raymu.core.board.board import RevocationBoard
from raymu.core.commands import Command, Decision, PublishGeneration, RepairShard
from raymu.core.events import RequestsPurged, SettleRequested, ShardFailed, ShardRepaired, WorkResumed
from raymu.core.records import Remedy, ShardState
from raymu.core.run_shape import RunShape
from tests.unit.core.commands import publications, published, purges, repaired, repairs
from tests.unit.core.examples import EPOCHS, NOW, SLICES, accepted, lineage, report_of, request, trained_board, training


def test_a_forecast_counts_the_other_shards_as_references_and_the_models_batch_norm() -> None:
    def patch(shards: int, **known: bool) -> float:
        shape = RunShape(unlearning=UnlearningConfig(), epochs=EPOCHS, **known)
        board = RevocationBoard.replayed(training(shards), shape, workers=2)
        [workload] = board.workloads(request("r1", {0: {2: 3}}))
        return workload.passes[Remedy.PATCH]

    assert patch(2) < patch(3) < patch(9) == patch(20)
    assert patch(3) < patch(3, has_batch_norm=True)


def test_accepting_rewinds_before_it_repairs() -> None:
    first, *rest = trained_board().handle(accepted(request("r1", {1: {2: 1}})))
    assert isinstance(first, PublishGeneration)
    assert [served.state for served in first.constituents] == [ShardState.EXACT, ShardState.REWOUND, ShardState.EXACT]
    assert [command.shard for command in repairs(rest)] == [1]


def test_keep_serves_the_old_state_until_the_repair() -> None:
    commands = trained_board(on_accept="keep").handle(accepted(request("r1", {1: {2: 1}})))
    assert publications(commands) == []


def test_a_revocation_for_a_busy_shard_waits_its_turn() -> None:
    board = trained_board()
    [first] = repairs(board.handle(accepted(request("r1", {2: {3: 1}}))))
    assert repairs(board.handle(accepted(request("r2", {2: {1: 1}})))) == []
    [second] = repairs(board.handle(repaired(first)))
    assert (first.request_ids, second.request_ids) == (("r1",), ("r2",))
    assert second.lineage.serving == report_of(first, {}, version="1").lineage.serving


def test_requests_that_wait_for_the_same_shard_share_one_remedy() -> None:
    board = trained_board()
    [first] = repairs(board.handle(accepted(request("r1", {0: {3: 1}}))))
    board.handle(accepted(request("r2", {0: {2: 1}})))
    board.handle(accepted(request("r3", {0: {1: 1}}, strategy=Strategy.DPUS)))
    [shared] = repairs(board.handle(repaired(first)))
    assert shared.request_ids == ("r2", "r3")
    assert shared.earliest_slice == 1
    assert shared.decision.remedy is Remedy.RETRAIN


def test_requests_accepted_together_share_one_remedy() -> None:
    together = accepted(request("r1", {0: {3: 1}}), request("r2", {0: {2: 1}, 1: {0: 1}}))
    commands = trained_board().handle(together)
    assert [command.request_ids for command in sorted(repairs(commands), key=lambda command: command.shard)] == [
        ("r1", "r2"),
        ("r2",),
    ]
    assert len(publications(commands)) == 1


def resumed(board: RevocationBoard) -> list[Command]:
    """Return the commands of a coordinator that resumes work."""
    begun = board.handle(WorkResumed(at=NOW))
    return [*(command for command in board.pending_commands() if not isinstance(command, RepairShard)), *begun]


def test_the_parts_of_a_submission_are_rewound_and_repaired_together_once_work_resumes() -> None:
    board = trained_board()
    parts = [{0: {3: 1}}, {0: {2: 1}, 1: {0: 1}}, {0: {1: 2}}]
    for number, part in enumerate(parts):
        assert board.handle(accepted(request(f"r{number}", part), is_part=True)) == []
    assert board.idle_with_work
    assert not board.is_idle
    publication, *rest = resumed(board)
    assert isinstance(publication, PublishGeneration)
    assert publication.rewound == ("r0", "r1", "r2")
    assert [constituent.stages_trained for constituent in publication.constituents] == [1, 0, SLICES]
    served = {command.shard: command.request_ids for command in repairs(rest)}
    assert served == {0: ("r0", "r1", "r2"), 1: ("r1",)}
    assert board.handle(published(publication)) == []
    assert not board.idle_with_work


def test_a_single_request_starts_the_waiting_parts_too() -> None:
    board = trained_board()
    board.handle(accepted(request("r1", {0: {3: 1}}), is_part=True))
    publication, repair = board.handle(accepted(request("r2", {0: {2: 1}})))
    assert isinstance(publication, PublishGeneration)
    assert isinstance(repair, RepairShard)
    assert publication.rewound == repair.request_ids == ("r1", "r2")


def test_each_shard_votes_again_once_it_is_repaired_and_the_request_is_repaired_with_the_last() -> None:
    board = trained_board()
    rewinding, first, second = board.handle(accepted(request("r1", {0: {3: 1}, 1: {3: 1}})))
    assert isinstance(rewinding, PublishGeneration)
    assert isinstance(first, RepairShard)
    assert isinstance(second, RepairShard)
    board.handle(published(rewinding))
    [publication] = publications(board.handle(repaired(first)))
    assert (publication.cause, publication.repaired) == ("repair", ())
    assert [served.state for served in publication.constituents[:2]] == [ShardState.EXACT, ShardState.REWOUND]
    assert board.handle(published(publication, number=3)) == []  # nothing is destroyed before the request is repaired
    [publication] = publications(board.handle(repaired(second)))
    assert (publication.cause, publication.repaired) == ("repair", ("r1",))
    assert {served.state for served in publication.constituents} == {ShardState.EXACT}
    [purge] = purges(board.handle(published(publication, number=4)))
    superseded = [
        command.lineage.files - report_of(command, {}, version="1").lineage.files for command in (first, second)
    ]
    assert (purge.request_ids, purge.files) == (("r1",), superseded[0] | superseded[1])


def test_a_shard_that_another_request_waits_for_stays_rewound() -> None:
    board = trained_board()
    [first] = repairs(board.handle(accepted(request("r1", {0: {3: 1}}))))
    board.handle(accepted(request("r2", {0: {1: 1}})))
    [publication] = publications(board.handle(repaired(first)))
    assert publication.repaired == ("r1",)
    assert publication.constituents[0].stages_trained == 1


def test_a_report_delivered_twice_changes_nothing_the_second_time() -> None:
    board = trained_board()
    [command] = repairs(board.handle(accepted(request("r1", {0: {1: 1}}))))
    board.handle(repaired(command))
    before, speeds = board.lineages, board.speeds
    assert speeds.of(Remedy.RETRAIN).repairs == 1
    assert board.handle(repaired(command, version="2")) == []
    assert (board.lineages, board.speeds) == (before, speeds)


def test_the_seconds_of_a_repair_are_in_the_next_forecast_and_those_of_a_substitute_are_not() -> None:
    def forecast_after(**changed: Any) -> float:
        board = trained_board()
        [command] = repairs(board.handle(accepted(request("r1", {0: {3: 1}}))))
        report = report_of(command, {3: 1}, version="1")
        board.handle(ShardRepaired(at=NOW, report=replace(report, **changed)))
        [workload] = board.workloads(request("r2", {1: {3: 1}}))
        return workload.seconds(Remedy.RETRAIN)

    as_forecast = forecast_after()
    assert forecast_after(seconds=30.0) > 5.0 * as_forecast
    patch = Decision(remedy=Remedy.PATCH, reason="", passes=1.0, seconds=1.0)
    assert forecast_after(seconds=30.0, planned=patch) == as_forecast, "a patch that failed was replaced by it"


def test_a_request_accepted_twice_is_served_once() -> None:
    board = trained_board()
    event = accepted(request("r1", {0: {1: 1}}))
    board.handle(event)
    assert board.handle(event) == []


def test_superseded_files_are_purged_after_publication_and_not_before() -> None:
    board = trained_board()
    [command] = repairs(board.handle(accepted(request("r1", {0: {1: 1}}))))
    [publication] = publications(board.handle(repaired(command)))
    [purge] = purges(board.handle(published(publication)))
    assert purge.files == lineage(0).files - board.lineages[0].files
    assert len(purge.files) == SLICES - 1
    assert (purge.request_ids, purge.rows) == (("r1",), 1)
    board.handle(RequestsPurged(at=NOW, request_ids=("r1",), files=(), rows=1))
    assert board.is_idle


def test_a_file_that_a_running_repair_reads_is_purged_after_it() -> None:
    board = trained_board(shards=2)
    [first] = repairs(board.handle(accepted(request("r1", {0: {3: 1}}))))
    [second] = repairs(board.handle(accepted(request("r2", {1: {3: 1}}))))
    assert second.references[0].checkpoint == lineage(0).serving
    [publication] = publications(board.handle(repaired(first)))
    assert purges(board.handle(published(publication))) == []
    [publication] = publications(board.handle(repaired(second)))
    [purge] = purges(board.handle(published(publication, 3)))
    assert lineage(0).serving.file in purge.files
    assert set(purge.request_ids) == {"r1", "r2"}


def test_debt_is_settled_from_its_earliest_slice() -> None:
    board = trained_board()
    [patch] = repairs(board.handle(accepted(request("r1", {0: {1: 1}}, strategy=Strategy.DPUS))))
    [publication] = publications(board.handle(repaired(patch)))
    assert publication.constituents[0].state is ShardState.APPROXIMATE
    board.handle(published(publication))
    [settlement] = repairs(board.handle(SettleRequested(at=NOW, shards=(0, 1, 2))))
    assert (settlement.shard, settlement.earliest_slice, settlement.decision.remedy) == (0, 1, Remedy.RETRAIN)
    [publication] = publications(board.handle(repaired(settlement, version="2")))
    assert publication.settled == ("r1",)
    assert board.lineages[0].tainted_from is None


def test_a_later_retraining_starts_below_the_debt_and_settles_it() -> None:
    board = trained_board()
    [patch] = repairs(board.handle(accepted(request("r1", {0: {1: 1}}, strategy=Strategy.DPUS))))
    board.handle(repaired(patch))
    [command] = repairs(board.handle(accepted(request("r2", {0: {3: 1}}))))
    assert command.earliest_slice == 1
    [publication] = publications(board.handle(repaired(command, version="2")))
    assert publication.settled == ("r1",)


def test_after_a_failure_the_requests_wait_again() -> None:
    board = trained_board(on_accept="keep")
    [command] = repairs(board.handle(accepted(request("r1", {0: {1: 1}}))))
    board.handle(ShardFailed(at=NOW, shard=0, command_id=command.command_id))
    assert board.open_requests == ("r1",)
    assert board.idle_with_work
    assert not board.is_idle
    assert board.pending_commands() == []
    [again] = repairs(board.handle(WorkResumed(at=NOW)))
    assert again == command
    assert board.handle(WorkResumed(at=NOW)) == []
    assert board.pending_commands() == [again]
    assert not board.idle_with_work


def test_a_settlement_that_fails_is_still_to_be_done() -> None:
    board = trained_board()
    [patch] = repairs(board.handle(accepted(request("r1", {0: {1: 1}}, strategy=Strategy.DPUS))))
    [publication] = publications(board.handle(repaired(patch)))
    [purge] = purges(board.handle(published(publication)))
    board.handle(RequestsPurged(at=NOW, request_ids=purge.request_ids, files=(), rows=1))
    assert board.is_idle
    [settlement] = repairs(board.handle(SettleRequested(at=NOW, shards=(0,))))
    board.handle(ShardFailed(at=NOW, shard=0, command_id=settlement.command_id))
    assert not board.is_idle
    [again] = repairs(board.handle(WorkResumed(at=NOW)))
    assert again == settlement
    assert again.decision.remedy is Remedy.RETRAIN


def test_a_settlement_and_a_request_that_fail_together_are_resumed_together() -> None:
    board = trained_board()
    [patch] = repairs(board.handle(accepted(request("r1", {0: {1: 1}}, strategy=Strategy.DPUS))))
    board.handle(accepted(request("r2", {0: {2: 1}}, strategy=Strategy.DPUS)))
    board.handle(SettleRequested(at=NOW, shards=(0,)))  # nothing is owed yet
    [second] = repairs(board.handle(repaired(patch)))
    assert second.decision.remedy is Remedy.PATCH
    board.handle(SettleRequested(at=NOW, shards=(0,)))
    board.handle(ShardFailed(at=NOW, shard=0, command_id=second.command_id))
    [both] = repairs(board.handle(WorkResumed(at=NOW)))
    assert (both.request_ids, both.decision.remedy) == (("r2",), Remedy.RETRAIN)
    assert both.decision.reason == "what the shard owes is settled with it"
    board.handle(ShardFailed(at=NOW, shard=0, command_id=both.command_id))
    assert repairs(board.handle(WorkResumed(at=NOW))) == [both]


def test_a_forecast_counts_pending_requests() -> None:
    board = trained_board()
    [first] = repairs(board.handle(accepted(request("r1", {0: {1: 2}}))))
    board.handle(accepted(request("r2", {0: {2: 1}})))
    [workload] = board.workloads(request("r3", {0: {3: 4}}))
    assert (workload.touched_samples, workload.earliest_slice) == (7, 1)
    board.handle(repaired(first))
    [workload] = board.workloads(request("r3", {0: {3: 4}}))
    assert (workload.touched_samples, workload.earliest_slice) == (5, 2)
