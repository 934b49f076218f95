from dataclasses import replace
from datetime import timedelta

import pytest

from raymu.config.unlearning import Strategy
from raymu.core.board.board import RevocationBoard
from raymu.core.commands import RepairShard
from raymu.core.deadlines import Deadline, deadlines, next_settle_window
from raymu.core.events import Event, ShardRepaired
from raymu.core.receipts import Receipts
from tests.unit.core.examples import NOW, accepted, report_of, request, trained_board


def course(*events: Event) -> tuple[RevocationBoard, Receipts]:
    """Return the board and the receipts after these events, with each repair done at once."""
    board, book = trained_board(), Receipts()
    for event in events:
        book.handle(event)
        for command in board.handle(event):
            if isinstance(command, RepairShard):
                done = ShardRepaired(at=NOW, report=report_of(command, {}, version=command.command_id))
                board.handle(done)
                book.handle(done)
    return board, book


def deadlines_of(board: RevocationBoard, book: Receipts, *, after: timedelta, workers: int = 1) -> tuple[Deadline, ...]:
    """Return the deadlines at a time `after` the due date."""
    return deadlines(book.receipts(), board.owed, board.settle_workloads(), now=NOW + after, workers=workers)


def patched(request_id: str, shard: int) -> Event:
    return accepted(request(request_id, {shard: {3: 1}}, strategy=Strategy.DPUS))


def test_an_exact_request_has_no_deadline() -> None:
    board, book = course(accepted(request("r1", {0: {3: 1}}, strategy=Strategy.SISA)))
    assert deadlines_of(board, book, after=timedelta(days=1)) == ()


def test_a_request_is_late_once_retraining_would_end_after_its_due_date() -> None:
    board, book = course(patched("r1", 0))
    [late] = deadlines_of(board, book, after=timedelta(0))
    assert (late.request_id, late.shards, late.is_late) == ("r1", (0,), True)
    [in_time] = deadlines_of(board, book, after=-timedelta(seconds=late.exact_after_s))
    assert not in_time.is_late


def test_shards_that_are_due_earlier_are_retrained_first() -> None:
    board, book = course(patched("r1", 0), patched("r2", 1))
    alone, after_it = deadlines_of(board, book, after=timedelta(0))
    assert after_it.exact_after_s == 2 * alone.exact_after_s
    assert after_it.retrain_passes == alone.retrain_passes
    _, side_by_side = deadlines_of(board, book, after=timedelta(0), workers=2)
    assert side_by_side.exact_after_s == alone.exact_after_s


def test_a_request_is_overdue_once_it_is_due() -> None:
    board, book = course(patched("r1", 0))
    [before] = deadlines_of(board, book, after=-timedelta(seconds=1))
    [after] = deadlines_of(board, book, after=timedelta(seconds=1))
    assert (before.is_overdue, after.is_overdue) == (False, True)


@pytest.mark.parametrize("seconds", [1e300, float("inf")])
def test_a_forecast_beyond_all_dates_makes_a_request_late_and_settling_urgent(seconds: float) -> None:
    board, book = course(patched("r1", 0))
    workload = board.settle_workloads()[0]
    efforts = {remedy: replace(effort, passes_s=seconds) for remedy, effort in workload.efforts.items()}
    workload = replace(workload, efforts=efforts)
    [late] = deadlines(book.receipts(), board.owed, {0: workload}, now=NOW - timedelta(days=30), workers=1)
    assert late.is_late
    window = next_settle_window([late])
    assert window is not None
    assert window.begin_at < NOW - timedelta(days=365)


def test_settling_begins_in_time_for_all_that_is_due() -> None:
    """The second request is due an hour after the first, but takes so long that it must begin earlier."""
    first, second = (
        Deadline(
            request_id=name,
            due_at=NOW + due,
            shards=(0,),
            retrain_passes=1.0,
            exact_after_s=seconds,
            is_late=False,
        )
        for name, due, seconds in (("r1", timedelta(hours=9), 60.0), ("r2", timedelta(hours=10), 7200.0))
    )
    assert next_settle_window([]) is None
    alone, both = next_settle_window([first]), next_settle_window([first, second])
    assert alone is not None
    assert both is not None
    assert NOW + timedelta(hours=8) < alone.begin_at < first.due_at - timedelta(minutes=1)
    assert (both.due_by, both.begin_at < NOW + timedelta(hours=8)) == (second.due_at, True)
