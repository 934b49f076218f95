"""The board's laws, for any order of requests, reports, failures and losses of the coordinator."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from raymu.config import OhsConfig, UnlearningConfig
from raymu.config.unlearning import OhsRemedy, OnAccept, PublishConfig, Strategy
from raymu.core.board import publication
from raymu.core.board.board import RevocationBoard
from raymu.core.board.serving import served_constituent
from raymu.core.board.shard_index import ShardIndex
from raymu.core.board.state import BoardState
from raymu.core.commands import RepairShard
from raymu.core.events import GenerationPublished, WorkResumed
from raymu.core.planner import calibration_references
from raymu.core.records import Exactness, Remedy
from raymu.core.run_shape import RunShape
from raymu.store.codec import from_json, to_json
from tests.unit.core.checked_run import CheckedRun, CoordinatorLost
from tests.unit.core.examples import EPOCHS, NOW, SLICES

SHARDS = 3
shards = st.integers(0, SHARDS - 1)
forget_sets = st.dictionaries(
    shards, st.dictionaries(st.integers(0, SLICES - 1), st.integers(1, 3), min_size=1), min_size=1
)


class BoardMachine(RuleBasedStateMachine):
    run: CheckedRun

    @initialize(
        on_accept=st.sampled_from(OnAccept),
        remedy=st.sampled_from(OhsRemedy),
        slice_samples=st.sampled_from([2, 6]),
        at_least=st.sampled_from([None, 1, 2, 4]),
    )
    def train(self, on_accept: OnAccept, remedy: OhsRemedy, slice_samples: int, at_least: int | None) -> None:
        ohs = OhsConfig(remedy=remedy)
        is_grouped = at_least and on_accept is not OnAccept.KEEP
        publish = PublishConfig(at_least=at_least, every=timedelta(hours=1)) if at_least and is_grouped else None
        config = UnlearningConfig(on_accept=on_accept, ohs=ohs, publish=publish)
        self.run = CheckedRun(config, shards=SHARDS, slice_samples=slice_samples)

    @rule(
        touched=forget_sets,
        strategy=st.sampled_from(Strategy),
        boundary=st.sampled_from([0.0, 0.5, 1.0, "0.5s", "deadline:1s"]),
        is_part=st.booleans(),
    )
    def revoke(
        self, touched: dict[int, dict[int, int]], strategy: Strategy, boundary: float | str, is_part: bool
    ) -> None:
        self._or_take_over(lambda: self.run.revoke(touched, strategy, boundary, is_part=is_part))

    @precondition(lambda self: self.run.running)
    @rule(which=shards, patch_fails=st.booleans(), slowness=st.sampled_from([0.1, 1.0, 1.0, 20.0]))
    def repair(self, which: int, patch_fails: bool, slowness: float) -> None:
        self._or_take_over(lambda: self.run.repair(self._running(which), patch_fails=patch_fails, slowness=slowness))

    @precondition(lambda self: self.run.running)
    @rule(which=shards)
    def fail(self, which: int) -> None:
        self._or_take_over(lambda: self.run.fail(self._running(which)))

    @precondition(lambda self: self.run.board.idle_with_work)
    @rule()
    def resume(self) -> None:
        self._or_take_over(self.run.resume)

    @precondition(lambda self: self.run.debts)
    @rule()
    def settle(self) -> None:
        self._or_take_over(self.run.settle)

    @rule(minutes=st.sampled_from([5, 20, 61]))
    def wait(self, minutes: int) -> None:
        self._or_take_over(lambda: self.run.wait(timedelta(minutes=minutes)))

    @precondition(lambda self: self.run.steps_left is None)
    @rule(steps=st.integers(0, 6))
    def lose_the_coordinator_soon(self, steps: int) -> None:
        self.run.steps_left = steps

    @invariant()
    def replaying_the_journal_rebuilds_the_board(self) -> None:
        board = self.run.board
        for replayed in (self.run.replayed(), self.run.replayed(times=2)):
            assert replayed.lineages == board.lineages
            assert replayed.speeds == board.speeds, "what repairs have shown follows from the events"
            assert replayed.open_requests == board.open_requests
            assert replayed.group == board.group
            assert replayed.pending_commands() == board.pending_commands()
            assert (replayed.is_idle, replayed.idle_with_work) == (board.is_idle, board.idle_with_work)

    @invariant()
    def a_saved_board_goes_on_as_a_replay_of_all_events(self) -> None:
        whole, shape = self.run.replayed().state(), RunShape(unlearning=self.run.config, epochs=EPOCHS)
        for saved in {len(self.run.events), len(self.run.events) // 2 + 1, max(2, len(self.run.events) - 3)}:
            before = RevocationBoard.replayed(self.run.events[:saved], shape, workers=2)
            board = RevocationBoard.restored(from_json(BoardState, to_json(before.state()), source="it"), workers=2)
            for event in self.run.events[saved:]:
                board.handle(event)
            assert board.state() == whole
            assert board.pending_commands() == self.run.replayed().pending_commands()

    @invariant()
    def what_the_board_keeps_up_to_date_is_what_its_shards_say(self) -> None:
        board, shards = self.run.board, self.run.board.state().shards
        kept, computed = vars(board._index), vars(ShardIndex(shards))
        names = [name for name in kept if name not in {"_shards", "_free", "changed"}]
        assert {name: kept[name] for name in names} == {name: computed[name] for name in names}
        owed: dict[str, set[int]] = {}
        for shard, work in enumerate(shards):
            sound = [each.lineage for each in shards if each.lost_from is None]
            references = calibration_references(
                shard, sound, shards=SHARDS, is_awaited=lambda other: bool(shards[other].pending)
            )
            assert board._planner.references(shard) == references
            for request_id in (*work.pending, *work.lineage.debts):
                owed.setdefault(request_id, set()).add(shard)
        assert board.owed == owed

    @invariant()
    def another_fleet_takes_up_the_same_commands(self) -> None:
        """A board with more workers may decide differently. An earlier report must still match its command."""
        board, other = self.run.board, self.run.replayed(workers=7)
        assert (other.lineages, other.open_requests) == (board.lineages, board.open_requests)
        ids = [
            {command.command_id for command in each.pending_commands() if isinstance(command, RepairShard)}
            for each in (board, other)
        ]
        assert ids[0] == ids[1] == {command.command_id for command in self.run.running.values()}

    @invariant()
    def requests_are_open_until_every_shard_is_past_them(self) -> None:
        pending = {request_id for shard in self.run.shards.samples for request_id in self.run.shards.pending(shard)}
        assert set(self.run.board.open_requests) == pending

    @invariant()
    def a_debt_to_settle_is_running_or_retrained_when_work_resumes(self) -> None:
        owing = {shard for shard, _ in self.run.to_settle & self.run.debts}
        resumed = self.run.replayed()
        begun = {
            command.shard: command
            for command in resumed.handle(WorkResumed(at=NOW))
            if isinstance(command, RepairShard)
        }
        assert owing <= self.run.running.keys() | begun.keys()
        assert {begun[shard].decision.remedy for shard in owing & begun.keys()} <= {Remedy.RETRAIN}
        assert not (self.run.board.is_idle and (owing or begun or self.run.running))

    def teardown(self) -> None:
        """In the end every request is repaired, every debt settled, and only needed files are left."""
        if not hasattr(self, "run"):
            return
        self.run.steps_left = None
        self.run.finish()
        board = self.run.board
        assert board.is_idle
        assert board.open_requests == ()
        assert board.pending_commands() == []
        assert not board.group.shards
        assert board.lineages == tuple(self.run.shards.trained(shard) for shard in range(SHARDS))
        assert self.run.served == tuple(
            served_constituent(lineage, pending_from=None, on_accept=OnAccept.KEEP) for lineage in board.lineages
        )
        assert self.run.shards.files.keys() == {file for lineage in board.lineages for file in lineage.files}
        self._check_receipts()

    def _check_receipts(self) -> None:
        published = [event for event in self.run.events if isinstance(event, GenerationPublished)]
        assert Counter(request_id for event in published for request_id in event.repaired) == Counter(
            list(self.run.shards.forget)
        )
        assert max(Counter(request_id for event in published for request_id in event.settled).values(), default=0) <= 1
        receipts = self.run.receipts().receipts()
        assert receipts == self.run.receipts(times=2).receipts()
        assert [receipt.request_id for receipt in receipts] == list(self.run.shards.forget)
        for receipt in receipts:
            assert receipt.exactness is Exactness.EXACT
            assert None not in (receipt.published_at, receipt.purged_at, receipt.settled_at)
            assert {part.shard for part in receipt.shards} == {
                sample[0] for sample in self.run.shards.forget[receipt.request_id]
            }
            assert sum(part.samples for part in receipt.shards) == len(self.run.shards.forget[receipt.request_id])
            assert (receipt.rewound_at is None) == (self.run.config.on_accept == "keep")

    def _running(self, which: int) -> int:
        """A shard whose repair is running."""
        running = sorted(self.run.running)
        return running[which % len(running)]

    def _or_take_over(self, step: Callable[[], None]) -> None:
        try:
            step()
        except CoordinatorLost:
            self.run.take_over()


SCENARIOS_PER_EXAMPLE = 1.5
"""Scenarios for each example that the hypothesis profile asks of a law."""


@pytest.mark.parametrize("most_generations", [1, 16])
def test_the_laws_hold_in_every_scenario(monkeypatch: pytest.MonkeyPatch, most_generations: int) -> None:
    """With 1 generation, shards wait for one another; with 16, each repair is published when it ends."""
    monkeypatch.setattr(publication, "MOST_GENERATIONS", most_generations)
    scenarios = round(SCENARIOS_PER_EXAMPLE * settings().max_examples)
    run_state_machine_as_test(
        BoardMachine, settings=settings(max_examples=scenarios, stateful_step_count=25, deadline=None)
    )
