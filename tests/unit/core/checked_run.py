"""A run in miniature whose coordinator holds each repair, publication and purge against the laws."""

from collections import Counter
from collections.abc import Mapping

from raymu.config import UnlearningConfig
from raymu.config.unlearning import OnAccept, Strategy
from raymu.core.board.board import RevocationBoard
from raymu.core.board.serving import served_constituent
from raymu.core.commands import Command, PublishGeneration, Purge, RepairReport, RepairShard
from raymu.core.events import (
    Event,
    GenerationPublished,
    RequestsPurged,
    RevocationsAccepted,
    RunTrained,
    SettleRequested,
    ShardFailed,
    ShardRepaired,
    WorkResumed,
)
from raymu.core.receipt import Receipts
from raymu.core.records import Constituent, ShardLineage, ShardState
from raymu.core.run_shape import RunShape
from tests.unit.core.examples import EPOCHS, NOW, SLICES, accepted, request
from tests.unit.core.traced_shards import TracedShards


class CoordinatorLost(Exception):
    """The coordinator is gone; what it journalled is left."""


class CheckedRun:
    """What a coordinator does with the board's commands, over traced shards."""

    def __init__(self, config: UnlearningConfig, *, shards: int, slice_samples: int) -> None:
        self.config = config
        self.shards = TracedShards(shards=shards, slice_samples=slice_samples)
        self.reports: dict[str, RepairReport] = {}  # written, and not journalled yet
        self.events: list[Event] = []
        self.working: dict[int, RepairShard] = {}
        self.to_settle: set[tuple[int, str]] = set()  # debts that were to be settled, with their shards
        self.steps_left: int | None = None  # until the coordinator is lost
        lineages = tuple(self.shards.trained(shard) for shard in range(shards))
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
        """touched: shard -> slice -> how many samples, as far as there are so many; is_part: of a large submission"""
        forget = self.shards.choose(touched)
        if not forget:
            return
        by_shard = {
            shard: dict(Counter(one[1] for one in forget if one[0] == shard)) for shard in {one[0] for one in forget}
        }
        asked = request(f"r{len(self.events)}", by_shard, strategy=strategy, boundary=boundary)
        self.shards.forget[asked.request_id] = forget
        self._happen(accepted(asked, is_part=is_part))

    def repair(self, shard: int, *, patch_fails: bool = False) -> None:
        """The remedy at work on a shard comes back. patch_fails: it could not be calibrated, and was a retraining"""
        command = self.working.pop(shard)
        if command.command_id not in self.reports:
            self.reports[command.command_id] = self.shards.carry_out(command, patch_fails=patch_fails)
        self._happen(ShardRepaired(at=NOW, report=self.reports[command.command_id]))
        self.reports.pop(command.command_id, None)

    def fail(self, shard: int) -> None:
        """The remedy at work on a shard breaks off; one whose report is written has not."""
        if self.working[shard].command_id in self.reports:
            self.repair(shard)
        else:
            command = self.working.pop(shard)
            self._happen(ShardFailed(at=NOW, shard=shard, command_id=command.command_id))

    def resume(self) -> None:
        if self.board.idle_with_work:
            self._happen(WorkResumed(at=NOW))
        for command in self.board.pending_commands():
            if not isinstance(command, RepairShard):
                self._obey(command)

    def settle(self) -> None:
        owed = tuple(lineage.shard for lineage in self.board.lineages if lineage.debts)
        self._happen(SettleRequested(at=NOW, shards=owed))

    @property
    def debts(self) -> set[tuple[int, str]]:
        """(shard, request)"""
        return {(lineage.shard, debt) for lineage in self.board.lineages for debt in lineage.debts}

    def finish(self) -> None:
        """What failed is begun again, all work succeeds, and all debts are settled."""
        for begin in (self.resume, self.settle):
            begin()
            while self.working:
                self.repair(min(self.working))

    def take_over(self) -> None:
        """Another coordinator replays the journal and takes up what is outstanding."""
        self.steps_left = None
        journalled = [event for event in self.events if isinstance(event, RevocationsAccepted)]
        known = {asked.request_id for event in journalled for asked in event.requests}
        self.shards.forget = {one: forget for one, forget in self.shards.forget.items() if one in known}
        self.board, self.working = self.replayed(), {}
        for command in self.board.pending_commands():
            self._obey(command)

    def replayed(self, *, workers: int = 2, times: int = 1) -> RevocationBoard:
        """A board from the journal. times: how often each event arrives"""
        events = (event for event in self.events for _ in range(times))
        return RevocationBoard.replayed(events, RunShape(unlearning=self.config, epochs=EPOCHS), workers=workers)

    def receipts(self, *, times: int = 1) -> Receipts:
        book = Receipts()
        for event in self.events:
            for _ in range(times):
                book.handle(event)
        return book

    def _happen(self, event: Event) -> None:
        self._step()
        self.events.append(event)
        if isinstance(event, ShardRepaired):
            self.shards.past[event.report.shard].update(event.report.request_ids)
        if isinstance(event, SettleRequested):
            self.to_settle |= self.debts
        self._step()
        for command in self.board.handle(event):
            self._obey(command)
        served = [one.checkpoint.file for one in self.served if one.checkpoint]
        assert self.shards.files.keys() >= set(served), "what is served is there"

    def _step(self) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise CoordinatorLost

    def _obey(self, command: Command) -> None:
        match command:
            case RepairShard():
                self._check_repair(command)
                self.working[command.shard] = command
            case PublishGeneration():
                self._check_publication(command)
                self.served = command.constituents
                self._happen(
                    GenerationPublished(
                        at=NOW,
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
                self._happen(RequestsPurged(at=NOW, request_ids=command.request_ids, files=files, rows=command.rows))

    def _check_repair(self, command: RepairShard) -> None:
        shard, lineage = command.shard, command.lineage
        assert shard not in self.working, "a shard is repaired by one remedy at a time"
        assert lineage == self.board.lineages[shard]
        assert set(command.request_ids) <= set(self.shards.pending(shard))
        forget = self.shards.forgotten(command.request_ids) & self.shards.samples[shard]
        slices = {one[1] for one in forget}
        assert command.earliest_slice == min(slices | ({lineage.tainted_from} - {None}))  # type: ignore[type-var]
        assert shard not in {reference.shard for reference in command.references}

    def _check_publication(self, command: PublishGeneration) -> None:
        assert command.lineages == self.board.lineages
        for one, lineage in zip(command.constituents, command.lineages, strict=True):
            self._check_constituent(one, lineage)
        pending = {request_id for shard in self.shards.samples for request_id in self.shards.pending(shard)}
        owed = {request_id for lineage in command.lineages for request_id in lineage.debts}
        assert not pending & {*command.repaired, *command.settled}, "repaired on every shard"
        assert not owed & set(command.settled)

    def _check_constituent(self, one: Constituent, lineage: ShardLineage) -> None:
        files, revoked = self.shards.files, self.shards.revoked
        is_pending = bool(self.shards.pending(one.shard)) and self.config.on_accept != "keep"
        seen = files[one.checkpoint.file] if one.checkpoint else frozenset()
        assert (one.checkpoint is None) == (not seen), "an untrained model has no vote"
        untouched = [ref for ref in lineage.checkpoints if ref and not files[ref.file] & revoked]
        match one.state:
            case ShardState.EXACT | ShardState.APPROXIMATE:
                assert not is_pending
                assert (one.checkpoint, one.stages_trained) == (lineage.serving, SLICES)
                assert (one.state is ShardState.APPROXIMATE) == bool(lineage.debts)
            case ShardState.REWOUND:
                assert is_pending
                assert one.checkpoint == untouched[-1]
                assert one.stages_trained == len(untouched)
            case ShardState.ABSTAINING:
                has_seen = any(files[ref.file] for ref in untouched)
                assert not has_seen or (is_pending and self.config.on_accept == "abstain")
        if one.state in (ShardState.EXACT, ShardState.REWOUND) and self.config.on_accept != "keep":
            assert not seen & revoked, "what is called exact has seen nothing that is revoked"
            assert one.samples == len(seen)

    def _check_purge(self, command: Purge) -> None:
        needed = {file for lineage in self.board.lineages for file in lineage.files}
        needed |= {one.checkpoint.file for one in self.served if one.checkpoint}
        needed |= {reference.checkpoint.file for one in self.working.values() for reference in one.references}
        assert not command.files & needed

    def _check_destroyed(self, command: Purge) -> None:
        """No checkpoint and no recorded update that is left has seen a purged request's samples."""
        forgotten = self.shards.forgotten(command.request_ids)
        for file, seen in self.shards.files.items():
            assert "patched" in file.path or not seen & forgotten
