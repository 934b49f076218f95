"""A small run whose coordinator checks every repair, publication and purge against the laws."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from raymu.config import UnlearningConfig
from raymu.config.unlearning import OnAccept, Strategy
from raymu.core.board.board import RevocationBoard
from raymu.core.board.serving import served_constituent
from raymu.core.commands import Command, PublishGeneration, Purge, RepairReport, RepairShard
from raymu.core.events import (
    Event,
    GenerationPublished,
    GroupReleased,
    RequestsPurged,
    RevocationsAccepted,
    RunTrained,
    SettleRequested,
    ShardFailed,
    ShardRepaired,
    WorkResumed,
)
from raymu.core.receipts import Receipts
from raymu.core.records import Constituent, ShardLineage, ShardState
from raymu.core.run_shape import RunShape
from tests.unit.core.examples import EPOCHS, NOW, SLICES, accepted, request
from tests.unit.core.traced_shards import TracedShards


class CoordinatorLost(Exception):
    """The coordinator is lost; its journal is left."""


class CheckedRun:
    """A coordinator that executes the board's commands on traced shards."""

    def __init__(self, config: UnlearningConfig, *, shards: int, slice_samples: int) -> None:
        self.config = config
        self.shards = TracedShards(shards=shards, slice_samples=slice_samples)
        self.reports: dict[str, RepairReport] = {}  # written, and not journalled yet
        self.events: list[Event] = []
        self.running: dict[int, RepairShard] = {}
        self.to_settle: set[tuple[int, str]] = set()  # debts that were to be settled, with their shards
        self.steps_left: int | None = None  # until the coordinator is lost
        self.now = NOW
        self.visible: set[str] = set()  # repaired requests that were part of a visible group
        self.waits_since = NOW  # when the first shard was repaired that may wait for a group
        lineages = tuple(self.shards.trained(shard) for shard in range(shards))
        self.served_lineages = lineages
        self.served = tuple(
            served_constituent(lineage, pending_from=None, on_accept=OnAccept.KEEP) for lineage in lineages
        )
        self.events.append(RunTrained(at=NOW, lineages=lineages, workers=2))
        self.events.append(GenerationPublished(at=NOW, number=1, manifest_sha256=""))
        self.board = self.replayed()

    def revoke(
        self,
        touched: Mapping[int, Mapping[int, int]],
        strategy: Strategy,
        boundary: float | str,
        *,
        is_part: bool = False,
    ) -> None:
        """Accept a request. `touched` is the number of samples by shard and slice, or all that are left."""
        forget = self.shards.choose(touched)
        if not forget:
            return
        by_shard = {
            shard: dict(Counter(sample[1] for sample in forget if sample[0] == shard))
            for shard in {sample[0] for sample in forget}
        }
        revocation = request(f"r{len(self.events)}", by_shard, strategy=strategy, boundary=boundary)
        self.shards.forget[revocation.request_id] = forget
        self._record(accepted(revocation, is_part=is_part))

    def repair(self, shard: int, *, patch_fails: bool = False, slowness: float = 1.0) -> None:
        """End the running repair of a shard, which took so many times its forecast.

        If `patch_fails`, a patch could not be calibrated and became a retraining.
        """
        command = self.running.pop(shard)
        if command.command_id not in self.reports:
            report = self.shards.execute(command, patch_fails=patch_fails)
            self.reports[command.command_id] = replace(report, seconds=slowness * report.seconds)
        self._record(ShardRepaired(at=self.now, report=self.reports[command.command_id]))
        self.reports.pop(command.command_id, None)

    def fail(self, shard: int) -> None:
        """Let the running repair of a shard fail, unless its report is written already."""
        if self.running[shard].command_id in self.reports:
            self.repair(shard)
        else:
            command = self.running.pop(shard)
            self._record(ShardFailed(at=self.now, shard=shard, command_id=command.command_id))

    def resume(self) -> None:
        if self.board.idle_with_work:
            self._record(WorkResumed(at=self.now))
        for command in self.board.pending_commands():
            if not isinstance(command, RepairShard):
                self._execute(command)

    def settle(self) -> None:
        owed = tuple(lineage.shard for lineage in self.board.lineages if lineage.debts)
        self._record(SettleRequested(at=self.now, shards=owed))

    def wait(self, length: timedelta) -> None:
        """Let time pass. The coordinator looks at what is due then."""
        self.now += length
        self.release_if_due()

    def release_if_due(self) -> None:
        due_at = self.board.group_due_at
        if due_at is not None and due_at <= self.now:
            self._record(GroupReleased(at=self.now))

    @property
    def debts(self) -> set[tuple[int, str]]:
        """The debts, as (shard, request)."""
        return {(lineage.shard, request_id) for lineage in self.board.lineages for request_id in lineage.debts}

    def finish(self) -> None:
        """Repeat what failed, let every repair succeed, and settle every debt."""
        for begin in (self.resume, self.settle):
            begin()
            while self.running:
                self.repair(min(self.running))
        if self.config.publish:
            self.wait(self.config.publish.every)

    def take_over(self) -> None:
        """Let another coordinator replay the journal and execute the pending commands."""
        self.steps_left = None
        journalled = [event for event in self.events if isinstance(event, RevocationsAccepted)]
        known = {revocation.request_id for event in journalled for revocation in event.requests}
        self.shards.forget = {
            request_id: forget for request_id, forget in self.shards.forget.items() if request_id in known
        }
        self.board, self.running = self.replayed(), {}
        for command in self.board.pending_commands():
            self._execute(command)

    def replayed(self, *, workers: int = 2, times: int = 1) -> RevocationBoard:
        """Rebuild a board from the journal, with each event delivered `times` times."""
        events = (event for event in self.events for _ in range(times))
        return RevocationBoard.replayed(events, RunShape(unlearning=self.config, epochs=EPOCHS), workers=workers)

    def receipts(self, *, times: int = 1) -> Receipts:
        book = Receipts()
        for event in self.events:
            for _ in range(times):
                book.handle(event)
        return book

    def _record(self, event: Event) -> None:
        self._step()
        self.events.append(event)
        if isinstance(event, ShardRepaired):
            if not self.board.group.shards:
                self.waits_since = event.at
            self.shards.past[event.report.shard].update(event.report.request_ids)
        if isinstance(event, SettleRequested):
            self.to_settle |= self.debts
        self._step()
        for command in self.board.handle(event):
            self._execute(command)
        served = [constituent.checkpoint.file for constituent in self.served if constituent.checkpoint]
        assert self.shards.files.keys() >= set(served), "every served checkpoint exists"

    def _step(self) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise CoordinatorLost

    def _execute(self, command: Command) -> None:
        match command:
            case RepairShard():
                self._check_repair(command)
                self.running[command.shard] = command
            case PublishGeneration():
                self._check_publication(command)
                self.served, self.served_lineages = command.constituents, command.lineages
                self._record(
                    GenerationPublished(
                        at=self.now,
                        number=1 + sum(isinstance(event, GenerationPublished) for event in self.events),
                        manifest_sha256="",
                        rewound=command.rewound,
                        repaired=command.repaired,
                        settled=command.settled,
                    )
                )
            case Purge():
                self._check_purge(command)
                for file in command.files:
                    self.shards.files.pop(file, None)
                self._step()
                self._check_destroyed(command)
                files = tuple(command.files)
                self._record(
                    RequestsPurged(at=self.now, request_ids=command.request_ids, files=files, rows=command.rows)
                )

    def _check_repair(self, command: RepairShard) -> None:
        shard, lineage = command.shard, command.lineage
        assert shard not in self.running, "a shard is repaired by one remedy at a time"
        assert lineage == self.board.lineages[shard]
        assert set(command.request_ids) <= set(self.shards.pending(shard))
        forget = self.shards.forgotten(command.request_ids) & self.shards.samples[shard]
        slices = {sample[1] for sample in forget}
        assert command.earliest_slice == min(slices | ({lineage.tainted_from} - {None}))  # type: ignore[type-var]
        assert shard not in {reference.shard for reference in command.references}

    def _check_publication(self, command: PublishGeneration) -> None:
        assert command.lineages == self.board.lineages
        if self.served and command.changed is not None:
            before, now = (self.served, self.served_lineages), (command.constituents, command.lineages)
            for earlier, later in zip(before, now, strict=True):
                differing = {shard for shard, pair in enumerate(zip(earlier, later, strict=True)) if pair[0] != pair[1]}
                assert differing <= set(command.changed)  # a record lacks no change
        for constituent, lineage in zip(command.constituents, command.lineages, strict=True):
            self._check_constituent(constituent, lineage)
        pending = {request_id for shard in self.shards.samples for request_id in self.shards.pending(shard)}
        self._check_group(command, pending)
        owed = {request_id for lineage in command.lineages for request_id in lineage.debts}
        assert not pending & {*command.repaired, *command.settled}, "repaired on every shard"
        assert not owed & set(command.settled)

    def _check_group(self, command: PublishGeneration, pending: set[str]) -> None:
        """Check that shards vote again as before in groups alone: as large as was asked for, or as late."""
        waiting = {ShardState.REWOUND, ShardState.ABSTAINING}
        full = {ShardState.EXACT, ShardState.APPROXIMATE}
        returning = [
            now.shard
            for before, now in zip(self.served, command.constituents, strict=True)
            if before.state in waiting and now.state in full
        ]
        if returning and self.config.publish:
            repaired = self.shards.forget.keys() - pending
            is_large = len(repaired - self.visible) >= self.config.publish.at_least
            assert is_large or self.now - self.waits_since >= self.config.publish.every
            assert not self.board.group.shards.keys() & set(returning)
            self.visible |= repaired

    def _check_constituent(self, constituent: Constituent, lineage: ShardLineage) -> None:
        files, revoked = self.shards.files, self.shards.revoked
        is_waiting = constituent.shard in self.board.group.shards
        is_pending = (bool(self.shards.pending(constituent.shard)) or is_waiting) and self.config.on_accept != "keep"
        seen = files[constituent.checkpoint.file] if constituent.checkpoint else frozenset()
        assert (constituent.checkpoint is None) == (not seen), "an untrained model has no vote"
        untouched = [ref for ref in lineage.checkpoints if ref and not files[ref.file] & revoked]
        match constituent.state:
            case ShardState.EXACT | ShardState.APPROXIMATE:
                assert not is_pending
                assert (constituent.checkpoint, constituent.stages_trained) == (lineage.serving, SLICES)
                assert (constituent.state is ShardState.APPROXIMATE) == bool(lineage.debts)
            case ShardState.REWOUND:
                assert is_pending
                stages = min(len(untouched), self.board.group.shards.get(constituent.shard, SLICES))
                assert constituent.checkpoint == untouched[stages - 1]
                assert constituent.stages_trained == stages
            case ShardState.ABSTAINING:
                has_seen = any(
                    files[ref.file] for ref in untouched[: self.board.group.shards.get(constituent.shard, SLICES)]
                )
                assert not has_seen or (is_pending and self.config.on_accept == "abstain")
        if constituent.state in (ShardState.EXACT, ShardState.REWOUND) and self.config.on_accept != "keep":
            assert not seen & revoked, "a state that is called exact has seen no revoked sample"
            assert constituent.samples == len(seen)

    def _check_purge(self, command: Purge) -> None:
        needed = {file for lineage in self.board.lineages for file in lineage.files}
        needed |= {constituent.checkpoint.file for constituent in self.served if constituent.checkpoint}
        needed |= {reference.checkpoint.file for repair in self.running.values() for reference in repair.references}
        assert not command.files & needed

    def _check_destroyed(self, command: Purge) -> None:
        """Check that no checkpoint and no recorded update has seen a purged request's samples."""
        forgotten = self.shards.forgotten(command.request_ids)
        for file, seen in self.shards.files.items():
            assert "patched" in file.path or not seen & forgotten
