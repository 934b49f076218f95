"""Carries out what a run's board decides: events are recorded, generations published, remedies followed, traces purged."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from raymu.core.board.board import RevocationBoard
from raymu.core.commands import Command, PublishGeneration, Purge, RepairReport, RepairShard
from raymu.core.events import DamageFound, Event, ShardFailed, ShardRepaired, WorkResumed
from raymu.core.receipt import Receipts
from raymu.core.records import SampleId
from raymu.errors import CoordinatorLost, ShardRepairFailed
from raymu.service.coordinator.accuracy import AccuracyTracker
from raymu.service.coordinator.damage import Damage, find_damage, restore_samples
from raymu.service.coordinator.garbage import GarbageCollector
from raymu.service.coordinator.publisher import Publisher
from raymu.service.history import History
from raymu.service.shard.fleet import ShardFleet
from raymu.service.shard.messages import Progress, RepairTask, StageProgress, WorkReport
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore


class Observer(Protocol):
    """Only looks: it changes nothing, waits for nothing and raises nothing."""

    def opened(self, board: RevocationBoard, receipts: Receipts) -> None:
        """A coordinator has taken the run over. Both are its own, as they stand now and at every event to come."""

    def happened(self, event: Event) -> None:
        """An event that the board and the receipts have taken in."""

    def closed(self) -> None:
        """The coordinator has left the run: nothing more happens here."""


class Executor:
    """Of one coordinator. What happens goes to the journal first and then to the board, whose commands are carried out."""

    def __init__(
        self,
        store: RunStore,
        journal: Journal,
        fleet: ShardFleet,
        history: History,
        *,
        term: int,
        clock: Callable[[], datetime],
        forget: Callable[[Iterable[SampleId]], None],
        observers: Sequence[Observer] = (),
    ) -> None:
        """history: up to now; forget: told of samples once they are purged"""
        self._store, self._journal, self._fleet = store, journal, fleet
        self._term, self._clock, self._forget = term, clock, forget
        self.board, self.receipts = history.board, history.receipts
        self.publisher = Publisher(store, journal, clock=clock, published=history.published)
        self.sweeper = GarbageCollector(store, journal, self.publisher, self.board)
        self.reports: list[RepairReport] = []
        """Of the remedies that came back, in that order."""
        measured = (one.number for one in history.evaluations)
        self._track = AccuracyTracker(store, clock=clock, measured=measured)
        self._listeners: list[Progress] = []
        self._tasks: dict[asyncio.Task[None], int] = {}  # of the remedies that are followed -> their shards
        self._failure: tuple[int, BaseException] | None = None  # the last one since work was resumed
        self._observers, self._is_closed = observers, False
        for observer in observers:
            observer.opened(self.board, self.receipts)

    def record(self, event: Event) -> None:
        """Raises CoordinatorLost once it is closed, and CoordinatorSuperseded, StorageFailed."""
        if self._is_closed:
            self._store.files.fence()  # a superseded coordinator says so
            raise CoordinatorLost("it has left the run")
        self._journal.append(event)
        self.take_in(event)

    def take_in(self, event: Event) -> None:
        """An event that the journal has."""
        self.receipts.handle(event)
        commands = self.board.handle(event)
        for observer in self._observers:
            observer.happened(event)
        self.carry_out(commands)

    def carry_out(self, commands: Sequence[Command]) -> None:
        with self.sweeper.minding():
            for command in commands:
                match command:
                    case PublishGeneration():
                        self.take_in(self.publisher.publish(command))
                    case RepairShard():
                        task = asyncio.create_task(self._follow(command), name=command.command_id)
                        self._tasks[task] = command.shard
                        task.add_done_callback(self._end)
                    case Purge():
                        raw_ids = self._journal.raw_ids(command.request_ids)
                        purged = self.publisher.purge(command, self.receipts)
                        self._forget(_union(ids for by_shard in raw_ids.values() for ids in by_shard.values()))
                        self.take_in(purged)

    def resume(self) -> None:
        """Take up what an earlier coordinator, or an earlier failure, left undone."""
        self._journal.require_current()  # a superseded coordinator would publish, and destroy, by an old state
        if self.board.idle_with_work:
            self.record(WorkResumed(at=self._clock()))
        self.sweeper.sweep_if_due()  # once all that is left to do is at work: what is done of that stays
        for command in self.board.pending_commands():
            if not (isinstance(command, RepairShard) and self._is_followed(command)):
                self.carry_out([command])
        self._failure = None

    def catch_up(self) -> None:
        """Where the files are an old copy, what the journal knows to be revoked since is taken out of them again."""
        self._store.files.fence()  # a superseded coordinator would answer by an old state
        if self.publisher.is_behind:  # so it is the first call: nothing else is at work
            self.make_sound()
            self.sweeper.sweep()

    def make_sound(self, data: str | None = None) -> list[Damage]:
        """Find what is missing or changed, have the samples back, and begin to train the rest again.

        data: the file that the run was trained from. Raises SamplesLost, DataInvalid.
        """
        self._journal.require_current()
        damage = find_damage(self._store, self.board.lineages)
        revoked = self._journal.revoked()
        for one in damage:
            if one.has_lost_samples:
                waiting = self.board.pending_requests(one.lineage.shard)
                past = {name: request_id for name, request_id in revoked.items() if request_id not in waiting}
                with self.sweeper.minding():
                    restore_samples(self._store, one, revoked=past, data=data)
        first_stages = {one.lineage.shard: stage for one in damage if (stage := one.first_stage) is not None}
        if first_stages or not self.publisher.is_sound:
            for command in self.board.running:  # left behind: they would start from, or aim at, what is lost
                if not self._is_followed(command):
                    self.record(ShardFailed(at=self._clock(), shard=command.shard, command_id=command.command_id))
            self.record(DamageFound(at=self._clock(), first_stages=first_stages))
        return damage

    @contextmanager
    def listening(self, progress: Progress) -> Iterator[None]:
        """Within it, progress is told of the stages of all remedies."""
        self._listeners.append(progress)
        try:
            yield
        finally:
            self._listeners.remove(progress)

    async def until(self, is_done: Callable[[], bool]) -> None:
        """Wait for the remedies at work until a condition holds, and measure what they led to.

        Raises ShardRepairFailed where none is left to wait for, and what kept an outcome from being recorded.
        """
        while not is_done():
            if not self._tasks:
                if self._failure is None:
                    raise AssertionError("what is waited for is at work, or failed")
                shard, error = self._failure
                raise ShardRepairFailed(shard, f"{type(error).__name__}: {error}") from error
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises where the outcome could not be recorded
        self.sweeper.sweep_if_due()  # another call's remedy failed meanwhile
        if not self.board.running:
            await self.measure()

    @property
    def at_work(self) -> frozenset[int]:
        """The shards whose remedies are followed here."""
        return frozenset(shard for task, shard in self._tasks.items() if not task.done())

    def close(self) -> None:
        """From here on nothing is recorded: what comes back, or does not, is for the next coordinator to take up."""
        self._is_closed = True
        for observer in self._observers:
            observer.closed()

    async def measure(self) -> None:
        """How accurate the current generation is, where the configuration asks for it."""
        await self._track.follow(self.publisher.published, self.record)

    def _is_followed(self, command: RepairShard) -> bool:
        return any(task.get_name() == command.command_id and not task.done() for task in self._tasks)

    async def _follow(self, command: RepairShard) -> None:
        """See one remedy through; what goes wrong is an event too."""
        report: WorkReport | None
        try:
            with self.sweeper.at_work(command.shard):
                report = await self._fleet.run(self._task(command), self._tell)
        except Exception as error:  # whatever it was, the request stays accepted and the caller is told
            report = self._store.reports.find(RepairReport, command.command_id)
            if report is None:
                self._fail(command.shard, error)
                self.record(ShardFailed(at=self._clock(), shard=command.shard, command_id=command.command_id))
                return
        assert isinstance(report, RepairReport)
        self.record(ShardRepaired(at=self._clock(), report=report))
        self.reports.append(report)
        self._store.reports.delete([report.command_id])

    def _task(self, command: RepairShard) -> RepairTask:
        held = self._journal.sample_ids(shard=command.shard)
        unseen = self._journal.sample_ids(shard=command.references[0].shard) if command.references else {}
        return RepairTask(
            command=command,
            forget=_union(held[request_id] for request_id in command.request_ids if request_id in held),
            unseen_forgotten=_union(unseen.values()),
            term=self._term,
        )

    def _end(self, task: asyncio.Task[None]) -> None:
        shard = self._tasks.pop(task)
        if task.cancelled():
            self.sweeper.is_due = True
        elif error := task.exception():  # its outcome could not be recorded: told to whoever waits, or comes to wait
            self._fail(shard, error)

    def _fail(self, shard: int, error: BaseException) -> None:
        self._failure, self.sweeper.is_due = (shard, error), True

    def _tell(self, stage: StageProgress) -> None:
        for listener in self._listeners:
            listener(stage)


def _union(sets: Iterable[frozenset[SampleId]]) -> frozenset[SampleId]:
    return frozenset[SampleId]().union(*sets)
