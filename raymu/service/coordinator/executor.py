"""Carries out a board's commands: records events, has shards repaired, publishes generations and purges files."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeAlias

from raymu.core.board.board import RevocationBoard
from raymu.core.commands import (
    Command,
    PublishGeneration,
    Purge,
    RepairReport,
    RepairShard,
    ShardCommand,
    TrainShard,
)
from raymu.core.events import DamageFound, Event, GroupReleased, RunTrained, ShardFailed, ShardRepaired, WorkResumed
from raymu.core.receipts import Receipts
from raymu.core.records import SampleId
from raymu.data.frames import TableData
from raymu.errors import ShardRepairFailed, WorkerLost
from raymu.service.coordinator.accuracy import AccuracyTracker
from raymu.service.coordinator.damage import Damage, find_damage, restore_routes
from raymu.service.coordinator.garbage import GarbageCollector
from raymu.service.coordinator.publisher import Publisher
from raymu.service.coordinator.session import Session
from raymu.service.coordinator.snapshots import SnapshotKeeper
from raymu.service.held_out import restore_held_out
from raymu.service.history import History, snapshot_size
from raymu.service.shard.fleet import ShardFleet
from raymu.service.shard.messages import Progress, RepairTask, StageProgress, TrainReport, TrainTask, Work, WorkReport
from raymu.service.shard.reports import find_report


class Observer(Protocol):
    """Watches a run. Its methods neither change the run, nor wait, nor raise."""

    def on_open(self, board: RevocationBoard, receipts: Receipts) -> None:
        """Observe the board and the receipts of a coordinator that has opened. Every later event changes them."""

    def on_event(self, event: Event) -> None:
        """Observe an event that the board and the receipts have handled."""

    def on_close(self) -> None:
        """Observe that the coordinator leaves the run."""


RawIds: TypeAlias = Mapping[int, Mapping[str, frozenset[SampleId]]]
"""shard -> request -> the samples that it names, until it is purged."""


MOST_WAIT_S = 0.25
"""Seconds that the report of a repair waits for others, to be committed with them, while it brings nothing by itself."""


@dataclass(eq=False, slots=True)
class ArrivedReports:
    """Reports of repairs that are committed together: all that arrive while one waits for others, or for its turn."""

    reports: list[RepairReport] = field(default_factory=list)
    are_recorded: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once they are recorded, or could not be."""
    error: BaseException | None = None
    """Why they could not be recorded."""


class Executor:
    """Records events and executes commands: an event is committed to the journal, then applied to the board.

    A method whose docstring says 'within a turn' expects its caller to hold the session's turn. The others take it where
    they write.
    """

    def __init__(
        self,
        session: Session,
        fleet: ShardFleet,
        history: History,
        *,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Continue from a run's history.

        Args:
            session: The run that was taken over.
            fleet: Carries the work out.
            history: All events up to now.
            observers: Called at every event.
        """
        self._session, self._fleet = session, fleet
        self._snapshots = SnapshotKeeper(session, history, workers=lambda: fleet.workers)  # before anything changes it
        self.board, self.receipts = history.board, history.receipts
        self.publisher = Publisher(session, published=history.published)
        self.garbage = GarbageCollector(session, self.publisher, self.board)
        self.reports: list[RepairReport] = []
        """Reports of the finished repairs, in the order of their arrival."""
        self.trained: dict[int, TrainReport] = {}
        """Reports of the shards that were trained here."""
        self._accuracy = AccuracyTracker(session, measured=[history.measured])
        self._arrived = ArrivedReports()
        self._listeners: list[Progress] = []
        self._tasks: dict[asyncio.Task[None], ShardCommand] = {}  # each follows the work of one shard
        self._stopped: set[asyncio.Task[None]] = set()  # trainings of shards that were cancelled before they began
        self._failure: BaseException | None = None  # the last one since work was resumed
        self._observers, self._is_closed = observers, False
        for observer in observers:
            observer.on_open(self.board, self.receipts)

    async def record(self, event: Event) -> None:
        """Commit an event and execute what follows. Raises CoordinatorLost, CoordinatorSuperseded, StorageFailed."""
        async with self._session.turn():
            await self.record_in_turn(event)

    async def record_in_turn(self, *events: Event) -> None:
        """Do as `record`, within a turn. Several events are committed together."""
        await self.require_open()
        await self._session.offload(partial(self._session.journal.append, *events))
        await self.apply(*events)

    async def require_open(self) -> None:
        """Raise CoordinatorLost, or CoordinatorSuperseded, after `close`."""
        if self._is_closed:
            await self._session.raise_left()

    async def apply(self, *events: Event) -> None:
        """Apply committed events to the receipts and the board, tell the observers, and execute the resulting commands.

        Within a turn. Events that were committed together share a generation.
        """
        for event in events:
            self.receipts.handle(event)
            self._snapshots.on_event(event)
        commands = self.board.handle_together(events)
        for event in events:
            for observer in self._observers:
                observer.on_event(event)
        await self.execute(commands)

    async def execute(self, commands: Iterable[Command]) -> None:
        """Execute commands of the board, within a turn. The work of shards is started, but not awaited."""
        commands = [*commands]
        with self.garbage.due_on_error():
            raw_ids = await self._raw_ids_for(commands)
            for command in commands:
                match command:
                    case PublishGeneration():
                        await self.apply(await self.publisher.publish(command))
                    case TrainShard() | RepairShard():
                        task = asyncio.create_task(self._follow(command, raw_ids))
                        self._tasks[task] = command
                        task.add_done_callback(self._end)
                    case Purge():
                        await self.apply(await self.publisher.purge(command, self.receipts))
                        await self._save_snapshot_if_due()

    async def save_snapshot_if_due(self) -> None:
        """Save the state of the run if enough events have come. Raises CoordinatorSuperseded, CoordinatorLost."""
        async with self._session.turn():
            await self._save_snapshot_if_due()

    async def _save_snapshot_if_due(self) -> None:
        await self._snapshots.save_if_due(size=snapshot_size(self.board, self.receipts))

    async def resume(self) -> frozenset[int]:
        """Continue work that an earlier coordinator or failure left undone. Returns the shards whose work it started."""
        async with self._session.turn():
            before = self.followed_shards
            await self._session.require_current()  # a superseded coordinator would publish and purge by an old state
            self._failure = None
            await self._release_group(only_if_due=True)
            if self.board.training and not before:
                self.trained.clear()  # workers report finished trainings again
            if self.board.idle_with_work:
                await self.record_in_turn(WorkResumed(at=self._session.clock()))
            await self.garbage.collect_if_due()  # keeps partial results of repairs that are running again
            pending = self.board.pending_commands()
            for command in pending:
                if isinstance(command, PublishGeneration | Purge):
                    await self.execute([command])
            followed = self._followed_ids
            await self.execute(
                command
                for command in pending
                if isinstance(command, ShardCommand) and self._needs_start(command, followed)
            )
            return self.followed_shards - before

    async def release_group(self) -> None:
        """Make the repaired states visible that wait for their group, however small it is."""
        async with self._session.turn():
            await self._session.require_current()
            await self._release_group()

    async def _release_group(self, *, only_if_due: bool = False) -> None:
        now, due_at = self._session.clock(), self.board.group_due_at
        if due_at is not None and (due_at <= now or not only_if_due):
            await self.record_in_turn(GroupReleased(at=now))

    async def repeat_lost_revocations(self) -> frozenset[int]:
        """Remove revoked samples again from files that are an older copy than the journal.

        Returns:
            The shards whose repair it started.
        """
        async with self._session.turn():
            await self._session.require_unfenced()  # a superseded coordinator would answer by an old state
            before = self.followed_shards
            if await self._session.offload(lambda: self.publisher.is_behind):  # then nothing is running yet
                await self._repair_damage(None)
                await self.garbage.collect()
            return self.followed_shards - before

    async def repair_damage(self, data: TableData | None) -> tuple[list[Damage], frozenset[int]]:
        """Find missing or changed files, restore samples, and start to train the rest again.

        Args:
            data: The file that the run was trained from.

        Returns:
            The damage, and the shards whose repair was started.

        Raises:
            SamplesLost: No copy has the samples of a shard.
            DataInvalid: `data` is not the file that the run was trained from.
        """
        async with self._session.turn():
            before = self.followed_shards
            damage = await self._repair_damage(data)
            return damage, self.followed_shards - before

    async def _repair_damage(self, data: TableData | None) -> list[Damage]:
        session, board = self._session, self.board
        await session.require_current()
        await session.offload(partial(restore_held_out, session.store))
        damage = await session.offload(partial(find_damage, session.store, board.lineages))
        revoked = await session.offload(session.journal.revoked)
        for shard_damage in damage:
            if shard_damage.has_lost_samples:
                from raymu.service.coordinator.lost_samples import restore_samples  # here, as it needs PyTorch

                pending = board.pending_requests(shard_damage.lineage.shard)
                gone = {name: request_id for name, request_id in revoked.items() if request_id not in pending}
                with self.garbage.due_on_error():
                    await session.offload(
                        partial(
                            restore_samples,
                            session.store,
                            shard_damage,
                            revoked=gone,
                            data=data,
                            extensions=board.extensions,
                        )
                    )
        if await session.offload(partial(restore_routes, session.store, board)):
            self.garbage.is_due = True
        first_stages = {
            shard_damage.lineage.shard: shard_damage.first_stage
            for shard_damage in damage
            if shard_damage.first_stage is not None
        }
        if first_stages or not await session.offload(lambda: self.publisher.is_sound):
            for command in board.repairs:  # interrupted ones would read files that are lost
                if self._needs_start(command, self._followed_ids):
                    await self.record_in_turn(
                        ShardFailed(at=session.clock(), shard=command.shard, command_id=command.command_id)
                    )
            await self.record_in_turn(DamageFound(at=session.clock(), first_stages=first_stages))
        return damage

    @contextmanager
    def progress_to(self, progress: Progress) -> Iterator[None]:
        """Report the stages of all repairs to `progress` within the context."""
        self._listeners.append(progress)
        try:
            yield
        finally:
            self._listeners.remove(progress)

    async def wait_until(self, is_done: Callable[[], bool]) -> None:
        """Wait for the running work until a condition holds, then measure the accuracy of the current generation.

        Raises:
            ShardRepairFailed: A repair has failed, and no other work is running.
            RaymuError: A training has failed, and no other work is running. Or a result could not be recorded.
        """
        await self.wait_for_work(is_done)
        async with self._session.turn():
            await self.garbage.collect_if_due()  # work of another call may have failed
        if not self.board.repairs:
            await self.measure()

    async def wait_for_work(self, is_done: Callable[[], bool]) -> None:
        """Wait as `wait_until` does, without measuring."""
        while not is_done():
            if self._tasks:
                done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done - self._stopped:
                    task.result()  # raises if its result could not be recorded, or if the fleet was cancelled
                continue
            async with self._session.turn():  # another call may be publishing or purging
                pass
            if not (is_done() or self._tasks):
                raise self._failure or AssertionError("no running repair can satisfy the condition being awaited")

    @property
    def followed_shards(self) -> frozenset[int]:
        """The shards whose work a task of this coordinator follows."""
        return frozenset(command.shard for task, command in self._tasks.items() if not task.done())

    async def close(self) -> None:
        """Refuse to record any further result. The next coordinator resumes the work that is running."""
        if self._is_closed:
            return
        async with self._session.turn():  # an event that is being committed is applied first
            self._is_closed = True
            for observer in self._observers:
                observer.on_close()

    async def measure(self) -> None:
        """Measure the accuracy of the current generation if the run is configured to."""
        await self._accuracy.measure(self.publisher.published, self.record)

    @property
    def _followed_ids(self) -> set[str]:
        return {command.command_id for task, command in self._tasks.items() if not task.done()}

    def _needs_start(self, command: ShardCommand, followed: set[str]) -> bool:
        """Whether a command was not carried out here, and no task follows it yet."""
        if isinstance(command, TrainShard) and command.shard in self.trained:
            return False
        return command.command_id not in followed

    async def _raw_ids_for(self, commands: Sequence[Command]) -> RawIds:
        """Read the sample ids that workers need and only the journal has, at once for all repairs that begin together."""
        repairs = [command for command in commands if isinstance(command, RepairShard)]
        shards = {shard for command in repairs for shard in (command.shard, *_unseen_shard(command))}
        if not shards:
            return {}
        return await self._session.offload(partial(self._session.journal.raw_ids_of_shards, sorted(shards)))

    async def _follow(self, command: ShardCommand, raw_ids: RawIds) -> None:
        """Run the work of one shard on the fleet, and record its result. A failed repair is an event too."""
        session = self._session
        report: WorkReport | None
        try:
            async with self.garbage.working_on(command.shard):
                report = await self._fleet.run(self._task_for(command, raw_ids), self._report)
        except Exception as error:  # requests stay accepted, and callers that wait for the work get the error
            report = await session.offload(partial(find_report, session.store, command.command_id))
            if report is None:  # otherwise only the worker's reply was lost
                self._fail(_failure_of(command, error))
                if isinstance(command, TrainShard):
                    self._stop_training(error)
                else:
                    await self.record(
                        ShardFailed(at=session.clock(), shard=command.shard, command_id=command.command_id)
                    )
                return
        match report:
            case TrainReport():
                await self._record_trained(report)
            case RepairReport():
                await self._record_repaired(report)

    async def _record_repaired(self, report: RepairReport) -> None:
        """Record a repair, together with all others whose reports arrive before it is this one's turn.

        A result that brings nothing by itself waits a moment for others, whose commit it then shares. Until it is recorded,
        the report's file shows that the shard is repaired.
        """
        session, together = self._session, self._arrived
        together.reports.append(report)
        if self.board.may_wait(together.reports):
            await self._wait_for_others(together, report)
        async with session.turn():
            if together is not self._arrived:  # another of them has recorded all
                if together.error is not None:
                    raise together.error
                return
            self._arrived = ArrivedReports()
            try:
                await self.record_in_turn(
                    *(ShardRepaired(at=session.clock(), report=arrived) for arrived in together.reports)
                )
            except BaseException as error:
                together.error = error
                raise
            finally:
                together.are_recorded.set()
        self.reports += together.reports
        command_ids = [arrived.command_id for arrived in together.reports]
        await session.offload(partial(session.store.reports.delete, command_ids))

    async def _wait_for_others(self, together: ArrivedReports, report: RepairReport) -> None:
        """Wait until reports are recorded by another of them, or long enough."""
        try:
            async with asyncio.timeout(MOST_WAIT_S):
                await together.are_recorded.wait()
        except TimeoutError:
            return
        except asyncio.CancelledError:
            together.reports.remove(report)  # the next call finds its file
            if not together.reports and together is self._arrived:
                self._arrived = ArrivedReports()  # an event serves one event loop, and each call may have its own
            raise

    async def _record_trained(self, report: TrainReport) -> None:
        """Keep the report of a shard, and record that the run is trained once every shard is.

        Until then the report's file shows that the shard is trained.
        """
        session = self._session
        self.trained[report.lineage.shard] = report
        if len(self.trained) < len(self.board.tables):
            return
        lineages = tuple(self.trained[shard].lineage for shard in sorted(self.trained))
        await self.record(RunTrained(at=session.clock(), lineages=lineages, workers=self._fleet.workers))
        command_ids = [report.command_id for report in self.trained.values()]
        await session.offload(partial(session.store.reports.delete, command_ids))

    def _stop_training(self, error: Exception) -> None:
        """Cancel the training of shards that has not begun.

        After a lost worker go on: settling then has less to finish.
        """
        if isinstance(error, WorkerLost):
            return
        for task, command in self._tasks.items():
            is_waiting = command.shard not in self._fleet.running and task is not asyncio.current_task()
            if isinstance(command, TrainShard) and is_waiting:
                task.cancel()
                self._stopped.add(task)

    def _task_for(self, command: ShardCommand, raw_ids: RawIds) -> Work:
        """Make a worker's task: the command, the term, and the sample ids that only the journal has."""
        if isinstance(command, TrainShard):
            return TrainTask(command=command, term=self._session.term)
        revoked = raw_ids[command.shard]
        return RepairTask(
            command=command,
            forget=_union(revoked[request_id] for request_id in command.request_ids if request_id in revoked),
            unseen_forgotten=_union(ids for shard in _unseen_shard(command) for ids in raw_ids[shard].values()),
            term=self._session.term,
        )

    def _end(self, task: asyncio.Task[None]) -> None:
        command = self._tasks.pop(task)
        if task.cancelled():
            self.garbage.is_due = True
        elif error := task.exception():  # its result could not be recorded
            self._fail(_failure_of(command, error))

    def _fail(self, error: BaseException) -> None:
        self._failure, self.garbage.is_due = error, True

    def _report(self, stage: StageProgress) -> None:
        for listener in self._listeners:
            with suppress(OSError):  # the screen it writes to is gone or full, and no work depends on it
                listener(stage)


def _failure_of(command: ShardCommand, error: BaseException) -> BaseException:
    """Return the error for callers that wait.

    A training's own error is kept, because it says what to change. A repair's is wrapped.
    """
    if isinstance(command, TrainShard):
        return error
    failure = ShardRepairFailed(command.shard, f"{type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _unseen_shard(command: RepairShard) -> tuple[int, ...]:
    """Return the shard whose samples a repair takes as unseen ones; none without references."""
    return tuple(reference.shard for reference in command.references[:1])


def _union(sets: Iterable[frozenset[SampleId]]) -> frozenset[SampleId]:
    return frozenset[SampleId]().union(*sets)
