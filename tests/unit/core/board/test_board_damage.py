"""The board's reaction to lost files."""

from raymu.config.unlearning import Strategy
from raymu.core.commands import PublishGeneration, RepairShard
from raymu.core.events import RequestsPurged, ShardFailed, WorkResumed
from raymu.core.records import Remedy, ShardState
from tests.unit.core.commands import damaged, publications, published, purges, repaired, repairs
from tests.unit.core.examples import NOW, SLICES, accepted, request, trained_board


def test_a_damaged_shard_serves_its_sound_state_until_it_is_retrained() -> None:
    board = trained_board()
    publication, command = board.handle(damaged({1: 2}))
    assert isinstance(publication, PublishGeneration)
    assert publication.cause == "rebuild"
    states = [(constituent.state, constituent.stages_trained) for constituent in publication.constituents]
    assert states == [(ShardState.EXACT, SLICES), (ShardState.REWOUND, 2), (ShardState.EXACT, SLICES)]
    assert isinstance(command, RepairShard)
    assert (command.shard, command.earliest_slice, command.decision.remedy) == (1, 2, Remedy.RETRAIN)
    [rebuilt] = publications(board.handle(repaired(command)))
    assert {served.state for served in rebuilt.constituents} == {ShardState.EXACT}
    [purge] = purges(board.handle(published(rebuilt, number=3)))
    assert purge.request_ids == ()
    board.handle(RequestsPurged(at=NOW, request_ids=(), files=(), rows=0))
    assert board.is_idle


def test_a_request_for_a_damaged_shard_is_retrained_from_the_earlier_of_both() -> None:
    board = trained_board()
    board.handle(accepted(request("r1", {1: {0: 1}})))
    [first] = board.repairs
    board.handle(ShardFailed(at=NOW, shard=1, command_id=first.command_id))
    [command] = repairs(board.handle(damaged({1: 2})))
    assert (command.request_ids, command.earliest_slice) == (("r1",), 0)


def test_a_damaged_shard_is_retrained_under_any_strategy() -> None:
    board = trained_board()
    [first] = repairs(board.handle(accepted(request("r1", {1: {3: 1}}, strategy=Strategy.DPUS))))
    board.handle(ShardFailed(at=NOW, shard=1, command_id=first.command_id))
    [command] = repairs(board.handle(damaged({1: 3})))
    assert command.decision.remedy is Remedy.RETRAIN
    assert command.decision.reason == "files of the shard were lost"


def test_a_damaged_shard_is_not_a_calibration_reference() -> None:
    board = trained_board()
    board.handle(damaged({1: 0}))
    [command] = repairs(board.handle(accepted(request("r1", {0: {3: 1}}, strategy=Strategy.DPUS))))
    assert [reference.shard for reference in command.references] == [2]


def test_a_rebuild_that_fails_is_repeated() -> None:
    board = trained_board()
    [command] = repairs(board.handle(damaged({1: 2})))
    board.handle(ShardFailed(at=NOW, shard=1, command_id=command.command_id))
    assert not board.is_idle
    assert board.idle_with_work
    assert repairs(board.handle(WorkResumed(at=NOW))) == [command]


def test_a_lost_generation_alone_is_published_again() -> None:
    board = trained_board()
    [publication] = board.handle(damaged({}))
    assert isinstance(publication, PublishGeneration)
    assert {served.state for served in publication.constituents} == {ShardState.EXACT}
