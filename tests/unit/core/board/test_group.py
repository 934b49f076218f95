"""Groups of requests whose repaired states become visible together."""

from datetime import UTC, datetime, timedelta

import pytest

from raymu.config import UnlearningConfig
from raymu.config.unlearning import OnAccept, PublishConfig
from raymu.core.board.board import RevocationBoard
from raymu.core.board.group import NO_GROUP, WaitingGroup
from raymu.core.board.state import BoardState
from raymu.core.commands import PublishGeneration
from raymu.core.events import GroupReleased, ShardRepaired, UnlearningConfigured
from raymu.core.records import ShardState
from raymu.store.codec import from_json, to_json
from tests.unit.core.commands import execute, repaired, repairs
from tests.unit.core.examples import NOW, accepted, report_of, request, trained_board

HOUR = timedelta(hours=1)


def test_a_group_is_ready_when_it_is_large_enough_or_has_waited_long_enough() -> None:
    publish = PublishConfig(at_least=2, every=HOUR)
    first, second = request("a", {1: {3: 1}}), request("b", {1: {3: 1}})
    group = NO_GROUP.with_shard(1, 3, at=NOW).with_requests([first])
    assert not group.is_ready(publish, NOW + HOUR - timedelta(seconds=1))
    assert group.is_ready(publish, NOW + HOUR)
    assert group.with_requests([second]).is_ready(publish, NOW)
    assert group.is_ready(None, NOW), "results that are not grouped wait for nothing"
    assert not NO_GROUP.is_ready(publish, NOW + HOUR)


def test_a_group_waits_from_its_first_shard_on_and_serves_the_earliest_stage() -> None:
    group = NO_GROUP.with_shard(1, 3, at=NOW).with_shard(1, 2, at=NOW + HOUR).with_shard(1, 4, at=NOW + HOUR)
    assert group == WaitingGroup(shards={1: 2}, since=NOW)
    assert group.due_at(PublishConfig(at_least=2, every=HOUR)) == NOW + HOUR


def test_requests_whose_shards_do_not_wait_are_not_counted() -> None:
    elsewhere = request("a", {0: {3: 1}})
    assert NO_GROUP.with_requests([elsewhere]) == NO_GROUP
    group = NO_GROUP.with_shard(1, 3, at=NOW)
    assert group.with_requests([elsewhere]) == group, "whoever waits on shard 1 is no less alone for it"


def test_a_wait_beyond_all_dates_never_ends() -> None:
    group = NO_GROUP.with_shard(0, 0, at=datetime(9990, 1, 1, tzinfo=UTC))
    assert group.due_at(PublishConfig(at_least=2, every=timedelta(days=9999))) == datetime.max.replace(tzinfo=UTC)


def test_repaired_shards_stay_rewound_until_the_group_is_complete_and_then_return_together() -> None:
    board = grouped_board()
    rewound, waiting = revoke_and_repair(board, "r1", shard=0)
    assert states(waiting) == states(rewound) == ["rewound", "exact", "exact"]
    assert waiting.constituents == rewound.constituents, "no prediction tells that the repair has ended"
    assert waiting.repaired == ("r1",), "forgetting does not wait: what it superseded is purged now"
    assert board.group.request_ids == ("r1",)
    _, together = revoke_and_repair(board, "r2", shard=1)
    assert states(together) == ["exact", "exact", "exact"]
    assert board.group == NO_GROUP


def test_an_abstaining_shard_abstains_until_the_group_is_complete() -> None:
    board = grouped_board(on_accept=OnAccept.ABSTAIN)
    _, waiting = revoke_and_repair(board, "r1", shard=0)
    assert states(waiting) == ["abstaining", "exact", "exact"]


def test_a_deletion_from_a_shard_that_waits_changes_no_prediction() -> None:
    board = grouped_board(at_least=3)
    _, waiting = revoke_and_repair(board, "r1", shard=0, first_slice=1)
    rewound, _ = revoke_and_repair(board, "r2", shard=0, first_slice=2)
    assert rewound.constituents == waiting.constituents


def test_a_request_counts_once_its_last_shard_is_repaired() -> None:
    board = grouped_board(at_least=1)
    commands = board.handle(accepted(request("r1", {0: {2: 1}, 1: {2: 1}})))
    first, second = repairs(commands)
    execute(board, *commands)
    [waiting] = execute(board, *board.handle(repaired(first)))
    assert states(waiting) == ["rewound", "rewound", "exact"]
    [together] = execute(board, *board.handle(repaired(second)))
    assert states(together) == ["exact", "exact", "exact"]


def test_a_group_is_released_by_an_event_and_then_waits_for_nothing() -> None:
    board = grouped_board(at_least=9)
    revoke_and_repair(board, "r1", shard=0)
    assert board.group_due_at == NOW + HOUR
    [together] = execute(board, *board.handle(GroupReleased(at=NOW)))
    assert (together.cause, states(together)) == ("release", ["exact", "exact", "exact"])
    assert board.handle(GroupReleased(at=NOW)) == []
    assert board.is_idle


def test_a_repair_that_ends_after_the_group_is_due_releases_it() -> None:
    board = grouped_board(at_least=9)
    revoke_and_repair(board, "r1", shard=0)
    commands = board.handle(accepted(request("r2", {1: {2: 1}})))
    execute(board, *commands)
    report = report_of(repairs(commands)[0], {}, version="1")
    [together] = execute(board, *board.handle(ShardRepaired(at=NOW + HOUR, report=report)))
    assert states(together) == ["exact", "exact", "exact"]


@pytest.mark.parametrize("publish", [None, PublishConfig(at_least=1), PublishConfig(at_least=9, every=timedelta(0))])
def test_settings_for_which_a_group_is_complete_release_it(publish: PublishConfig | None) -> None:
    board = grouped_board(at_least=9)
    revoke_and_repair(board, "r1", shard=0)
    unlearning = UnlearningConfig(publish=publish)
    [together] = execute(board, *board.handle(UnlearningConfigured(at=NOW, unlearning=unlearning)))
    assert states(together) == ["exact", "exact", "exact"]


def test_a_saved_board_keeps_its_group_and_one_of_an_earlier_version_has_none() -> None:
    board = grouped_board(at_least=9)
    revoke_and_repair(board, "r1", shard=0)
    state = board.state()
    restored = RevocationBoard.restored(from_json(BoardState, to_json(state), source="it"), workers=2)
    assert restored.state() == state
    [together] = execute(restored, *restored.handle(GroupReleased(at=NOW)))
    assert states(together) == ["exact", "exact", "exact"]
    earlier = to_json(trained_board().state()).replace(b'"group":{"request_ids":[],"shards":{},"since":null},', b"")
    assert b'"group"' not in earlier
    assert from_json(BoardState, earlier, source="it").group == NO_GROUP


def test_groups_need_states_that_never_saw_the_samples_meanwhile() -> None:
    with pytest.raises(ValueError, match="publish needs on_accept rewind or abstain"):
        UnlearningConfig(on_accept=OnAccept.KEEP, publish=PublishConfig(at_least=2))


def grouped_board(*, at_least: int = 2, on_accept: OnAccept = OnAccept.REWIND) -> RevocationBoard:
    return trained_board(publish=PublishConfig(at_least=at_least, every=HOUR), on_accept=on_accept)


def revoke_and_repair(
    board: RevocationBoard, request_id: str, *, shard: int, first_slice: int = 2
) -> tuple[PublishGeneration, PublishGeneration]:
    """Carry out a request of one sample. Returns the generations after its acceptance and after its repair."""
    commands = board.handle(accepted(request(request_id, {shard: {first_slice: 1}})))
    [rewound] = execute(board, *commands)
    [command] = repairs(commands)
    [after] = execute(board, *board.handle(repaired(command)))
    return rewound, after


def states(command: PublishGeneration) -> list[ShardState]:
    return [constituent.state for constituent in command.constituents]
