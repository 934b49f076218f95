"""Many shards of one request, one settlement or one rebuilding share a generation."""

from dataclasses import replace
from datetime import timedelta

from raymu.config.unlearning import Strategy
from raymu.core.board.board import RevocationBoard
from raymu.core.board.publication import MOST_GENERATIONS
from raymu.core.commands import PublishGeneration
from raymu.core.events import SettleRequested, ShardFailed, WorkResumed
from raymu.core.records import ShardState
from tests.unit.core.commands import damaged, execute, publications, published, repaired, repairs
from tests.unit.core.examples import NOW, accepted, request, trained_board


def patched_board(shards: int) -> RevocationBoard:
    """Return a board whose shards have each patched their own request, and are idle."""
    board = trained_board(shards)
    requests = [request(f"r{shard}", {shard: {2: 1}}, strategy=Strategy.DPUS) for shard in range(shards)]
    for command in repairs(board.handle(accepted(*requests))):
        [publication] = publications(board.handle(repaired(command)))
        execute(board, publication)
    assert board.is_idle
    return board


def test_the_shards_of_a_large_request_are_published_in_groups() -> None:
    board = trained_board(3 * MOST_GENERATIONS)
    [rewound, *commands] = board.handle(accepted(request("r1", {shard: {2: 1} for shard in range(7)})))
    assert isinstance(rewound, PublishGeneration)
    board.handle(published(rewound))
    shown = [len(publications(board.handle(repaired(command)))) for command in repairs(commands)[:6]]
    assert shown[:3] == [0, 0, 1]
    [last] = repairs(commands)[6:]
    [publication] = publications(board.handle(repaired(last)))
    assert publication.repaired == ("r1",)
    assert all(served.state is ShardState.EXACT for served in publication.constituents)


def test_many_settled_shards_are_published_in_groups() -> None:
    shards = 3 * MOST_GENERATIONS
    board = patched_board(shards)
    commands = repairs(board.handle(SettleRequested(at=NOW, shards=tuple(range(shards)))))
    shown = [execute(board, *board.handle(repaired(command, version="2"))) for command in commands]
    assert [len(publications) for publications in shown] == [0, 0, 1] * MOST_GENERATIONS
    assert [publication.settled for publication in shown[2]] == [
        tuple(sorted(f"r{command.shard}" for command in commands[:3]))
    ]
    assert board.is_idle


def test_the_last_settled_shard_does_not_wait_for_other_repairs() -> None:
    board = patched_board(3 * MOST_GENERATIONS)
    [running] = repairs(board.handle(accepted(request("s", {40: {0: 1}}))))
    first, last = repairs(board.handle(SettleRequested(at=NOW, shards=(0, 1))))
    assert running in board.repairs
    assert execute(board, *board.handle(repaired(first, version="2"))) == []
    [publication] = execute(board, *board.handle(repaired(last, version="2")))
    assert publication.settled == ("r0", "r1")


def test_many_rebuilt_shards_are_published_in_groups() -> None:
    shards = 3 * MOST_GENERATIONS
    board = trained_board(shards)
    commands = repairs(board.handle(damaged(dict.fromkeys(range(shards), 2))))
    shown = [len(publications(board.handle(repaired(command)))) for command in commands[:2]]
    assert shown == [0, 0]
    [publication] = publications(board.handle(repaired(commands[2])))
    assert sum(served.state is ShardState.EXACT for served in publication.constituents) == 3


def test_a_failure_publishes_deferred_results_if_no_repair_is_running() -> None:
    board = patched_board(3 * MOST_GENERATIONS)
    first, second, last = repairs(board.handle(SettleRequested(at=NOW, shards=(0, 1, 2))))
    board.handle(repaired(first, version="2"))
    assert board.handle(ShardFailed(at=NOW, shard=second.shard, command_id=second.command_id)) == []
    failure = ShardFailed(at=NOW, shard=last.shard, command_id=last.command_id)
    [publication] = execute(board, *board.handle(failure))
    assert publication.settled == ("r0",)
    assert repairs(board.handle(WorkResumed(at=NOW))) == [second, last]


def test_a_result_after_the_other_repairs_failed_is_published() -> None:
    board = patched_board(3 * MOST_GENERATIONS)
    failing, last = repairs(board.handle(SettleRequested(at=NOW, shards=(0, 1))))
    board.handle(ShardFailed(at=NOW, shard=failing.shard, command_id=failing.command_id))
    [publication] = execute(board, *board.handle(repaired(last, version="2")))
    assert publication.settled == ("r1",)


def test_repairs_for_requests_that_came_overdue_begin_first() -> None:
    board = trained_board()
    in_time = replace(request("r0", {0: {0: 2}, 2: {0: 2}}), due_at=NOW + timedelta(days=1))
    late = replace(request("r1", {1: {3: 1}}), due_at=NOW - timedelta(days=1))
    commands = repairs(board.handle(accepted(in_time, late)))
    assert [command.shard for command in commands] == [1, 0, 2]
    assert commands[0].decision.seconds < commands[1].decision.seconds
    assert [command.shard for command in repairs(board.pending_commands())] == [1, 0, 2]


def test_reports_that_are_committed_together_share_a_generation_and_a_replay_has_the_same_one() -> None:
    board = trained_board(3 * MOST_GENERATIONS)
    requests = accepted(
        *(request(f"r{shard}", {shard: {1: 1}}) for shard in range(3)), request("s", {4: {1: 1}, 5: {1: 1}})
    )
    execute(board, *board.handle(requests))
    replayed = RevocationBoard.restored(board.state(), workers=2)
    events = [repaired(command) for command in board.repairs[:4]]  # the last one leaves another shard
    [publication] = publications(board.handle_together(events))
    assert publication.repaired == ("r0", "r1", "r2")
    assert publication.changed == (0, 1, 2, 4)
    for event in events:
        replayed.handle(event)
    for each in (board, replayed):
        each.handle(published(publication, number=4))
    assert board.published_command == replayed.published_command == publication


def test_results_that_bring_nothing_can_wait_for_one_that_publishes_them() -> None:
    board = trained_board(3 * MOST_GENERATIONS)
    board.handle(accepted(request("r1", {shard: {2: 1} for shard in range(7)})))
    events = [repaired(command) for command in board.repairs]
    reports = [event.report for event in events]
    assert [board.may_wait(reports[:ended]) for ended in range(1, 8)] == [True, True, *[False] * 5]
    assert publications(board.handle_together(events[:2])) == []


def test_a_result_does_not_wait_if_it_completes_a_request_or_if_the_shard_has_more_to_do() -> None:
    board = trained_board(3 * MOST_GENERATIONS)
    board.handle(accepted(request("r1", {0: {2: 1}, 1: {2: 1}}), request("r2", {2: {2: 1}, 3: {2: 1}})))
    board.handle(accepted(request("r3", {3: {1: 1}})))
    reports = [repaired(command).report for command in board.repairs]
    assert [board.may_wait([report]) for report in reports] == [True, True, True, False]
    assert not board.may_wait(reports[:2]), "r1 is repaired with both of them"
    assert board.may_wait([reports[0], reports[2]])


def test_the_last_running_repair_does_not_wait() -> None:
    board = patched_board(3 * MOST_GENERATIONS)
    first, last = repairs(board.handle(SettleRequested(at=NOW, shards=(0, 1))))
    reports = [repaired(command, version="2").report for command in (first, last)]
    assert board.may_wait(reports[:1])
    assert not board.may_wait(reports)
    board.handle(ShardFailed(at=NOW, shard=last.shard, command_id=last.command_id))
    assert not board.may_wait(reports[:1])
