"""The coordinator of a run: takes requests in, has the board decide, and carries its commands out."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from uuid import uuid4

from raymu.core.events import (
    Command,
    DamageFound,
    Event,
    PublishGeneration,
    Purge,
    RevocationsAccepted,
    RunTrained,
    SettleRequested,
    ShardFailed,
    ShardRepaired,
    WorkResumed,
)
from raymu.core.receipt import Receipt
from raymu.core.records import RepairReport, RepairShard, SampleId
from raymu.errors import CoordinatorSuperseded, IdempotencyConflict, RequestInvalid, RunInvalid, ShardRepairFailed
from raymu.service.fleet import ShardFleet
from raymu.service.history import replay, require_named
from raymu.service.outcomes import RebuildReport, SettleReport, TrainingReport
from raymu.service.publishing import Publisher
from raymu.service.requests import RequestDesk, ResolvedRevocation, Revocation
from raymu.service.salvage import Damage, find_damage, restore_samples
from raymu.service.work import Progress, RepairTask, ShardTrained, StageTrained, TrainShard, WorkReport
from raymu.store.run import RunStore


def utc_now() -> datetime:
    return datetime.now(UTC)


class Coordinator:
    """One per run. It takes the run over on opening it: an earlier coordinator can write no more."""

    def __init__(self, store: RunStore, fleet: ShardFleet, *, clock: Callable[[], datetime] = utc_now) -> None:
        """Raises RunInvalid, FileMissing, FileCorrupt."""
        self._store, self._config = store, store.config
        self._fleet, self._clock = fleet, clock
        self._journal, self._epoch = store.take_over()
        self._history = history = replay(self._journal, store.manifest, workers=fleet.workers)
        require_named(store, self._journal, history)
        self._board, self._receipts, self._requests_by_key = history.board, history.receipts, history.requests_by_key
        self._publisher = Publisher(store, self._journal, clock=clock, published=history.published)
        self._listeners: list[Progress] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._reports: list[RepairReport] = []
        self._failure: tuple[int, BaseException] | None = None
        self._is_swept, self._is_quiet = False, True  # quiet: no remedy was at work when the present call came in
        self._training = asyncio.Lock()

    async def train(self, progress: Progress) -> TrainingReport:
        """Train every shard, side by side, and publish the first generation; shards that are trained already stay so."""
        started = time.perf_counter()
        self._journal.require_current()
        work = [
            TrainShard(shard=shard, table=table, epoch=self._epoch)
            for shard, table in enumerate(self._store.manifest.tables)
        ]
        # Until the last one has ended: a shard that trains on after a refusal would write what nobody waits for.
        done = await asyncio.gather(*(self._fleet.run(one, progress) for one in work), return_exceptions=True)
        reports = [_reported(one) for one in done]
        trained = [report for report in reports if isinstance(report, ShardTrained)]
        lineages = tuple(report.lineage for report in trained)
        if self._board.lineages:
            self._carry_out(self._board.outstanding())
        else:
            self._record(RunTrained(at=self._clock(), lineages=lineages, workers=self._fleet.workers))
        self._publisher.sweep(self._board.lineages, self._board.at_work)
        self._store.reports.drop(report.command_id for report in trained)
        return TrainingReport(
            generation=1,
            samples=sum(lineage.samples for lineage in lineages),
            passes=sum(report.passes for report in trained),
            compute_seconds=sum(report.seconds for report in trained),
            seconds=time.perf_counter() - started,
        )

    async def revoke(self, asked: Sequence[Revocation], progress: Progress) -> list[Receipt]:
        """Accept requests together and see them through: rewound, repaired, published, purged.

        Requests that wait for the same shard are served by one remedy.
        Raises RequestInvalid, UnknownSamples, SamplesRevoked, IdempotencyConflict, and then nothing is accepted;
        ShardRepairFailed, and then the requests stay accepted.
        """
        self._catch_up()
        request_ids, resolved = self._judge(asked)
        if not self._publisher.published:
            await self._be_trained(progress)
            request_ids, resolved = self._judge(asked)  # others may have come in meanwhile
        with self._listening(progress):
            self._accept(resolved)  # first: what an earlier failure left then shares its remedies
            self._resume()
            await self._until(lambda: all(self.receipt(one).purged_at for one in request_ids))
        return [self.receipt(request_id) for request_id in request_ids]

    async def settle(self, progress: Progress, *, due_by: datetime | None = None) -> SettleReport:
        """Retrain every shard that was only patched, and take up what an interruption left: training too.

        due_by: only what is owed to requests that are due by then
        """
        self._catch_up()
        await self._be_trained(progress)
        due = {one.request_id for one in self._receipts.receipts() if due_by is None or one.due_at <= due_by}
        owed = [lineage for lineage in self._board.lineages if due.intersection(lineage.debts)]
        first = len(self._reports)
        with self._listening(progress):
            self._resume()
            shards = tuple(lineage.shard for lineage in owed)
            self._record(SettleRequested(at=self._clock(), shards=shards))
            await self._until(lambda: self._board.is_idle)
        done = self._reports[first:]
        request_ids = sorted({request_id for lineage in owed for request_id in lineage.debts})
        return SettleReport(
            generation=self._publisher.generation,
            shards=tuple(sorted({report.shard for report in done})),
            request_ids=tuple(one for one in request_ids if self.receipt(one).settled_at),
            passes=sum(report.passes for report in done),
            compute_seconds=sum(report.seconds for report in done),
        )

    async def rebuild(self, progress: Progress, *, data: str | None = None) -> RebuildReport:
        """Make good what is missing or changed: samples from a copy that is at hand, states by training again.

        data: the file that the run was trained from. Raises RunInvalid where the run is not trained yet, SamplesLost.
        """
        if not self._publisher.published:
            raise RunInvalid(self._store.location, "is not trained yet; run `raymu settle`, or train anew")
        first = len(self._reports)
        with self._listening(progress):
            damage = self._make_sound(data)
            self._resume()
            await self._until(lambda: self._board.is_idle)
        done = self._reports[first:]
        return RebuildReport(
            generation=self._publisher.generation,
            files=tuple(file.path for one in damage for file in one.files),
            shards=tuple(sorted({report.shard for report in done})),
            passes=sum(report.passes for report in done),
            compute_seconds=sum(report.seconds for report in done),
        )

    @property
    def workers(self) -> int:
        return self._fleet.workers

    @cached_property
    def _desk(self) -> RequestDesk:
        return RequestDesk(self._store, self._journal, self._history.tables(self._store.manifest))

    def receipt(self, request_id: str) -> Receipt:
        """As it stands now."""
        return self._receipts.receipt(request_id).at(self._clock())

    async def close(self) -> None:
        await self._fleet.close()
        with suppress(CoordinatorSuperseded):  # then its successor closes the journal
            self._store.leave(self._journal, self._epoch)

    async def _be_trained(self, progress: Progress) -> None:
        """Finish a training that broke off. Calls that need it wait for the one that is at it."""
        async with self._training:
            if not self._publisher.published:
                await self.train(progress)

    def _judge(self, asked: Sequence[Revocation]) -> tuple[list[str], list[ResolvedRevocation]]:
        """Check requests that come in together. returns: the ids of all, and those that are to be accepted"""
        known = [self._known(one) for one in asked]
        resolved = self._resolve([one for one, request_id in zip(asked, known, strict=True) if request_id is None])
        fresh = [one.request.request_id for one in resolved]
        return [request_id or fresh.pop(0) for request_id in known], resolved

    def _known(self, asked: Revocation) -> str | None:
        """The request that was made under the same key. Raises IdempotencyConflict."""
        earlier = self._requests_by_key.get(asked.key) if asked.key else None
        if earlier is None or asked.key is None:
            return None
        if earlier.payload_sha256 != self._desk.payload_sha256(asked):
            raise IdempotencyConflict(asked.key, earlier.request_id)
        return earlier.request_id

    def _resolve(self, asked: Sequence[Revocation]) -> list[ResolvedRevocation]:
        """Check requests that come in together, before anything is written."""
        now = self._clock()
        resolved = [self._desk.resolve(one, request_id=_request_id(now), received_at=now) for one in asked]
        _require_apart(resolved)
        return resolved

    def _accept(self, resolved: Sequence[ResolvedRevocation]) -> None:
        """Acknowledge requests: once this returns they are committed."""
        if not resolved:
            return
        requests = tuple(one.request for one in resolved)
        event = RevocationsAccepted(at=self._clock(), requests=requests, generation=self._publisher.generation)
        self._journal.accept(
            event,
            forget={one.request.request_id: one.forget for one in resolved},
            hashes={request.request_id: request.hashes for request in requests},
        )
        self._requests_by_key.update({request.key: request for request in requests if request.key})
        self._apply(event)

    def _catch_up(self) -> None:
        """Where the files are an old copy, what the journal knows to be revoked since is taken out of them again."""
        if self._publisher.is_behind:
            self._make_sound()

    def _make_sound(self, data: str | None = None) -> list[Damage]:
        """Find what is missing or changed, have the samples back, and begin to train the rest again."""
        self._journal.require_current()
        damage = find_damage(self._store, self._board.lineages)
        revoked = self._journal.revoked()
        for one in damage:
            if one.has_lost_samples:
                waiting = self._board.pending(one.lineage.shard)
                past = {name: request_id for name, request_id in revoked.items() if request_id not in waiting}
                restore_samples(self._store, one, revoked=past, data=data)
        first_stages = {one.lineage.shard: stage for one in damage if (stage := one.first_stage) is not None}
        if first_stages or not self._publisher.is_sound:
            for command in self._board.at_work:  # left behind: they would start from, or aim at, what is lost
                if not self._is_followed(command):
                    self._record(ShardFailed(at=self._clock(), shard=command.shard, command_id=command.command_id))
            self._record(DamageFound(at=self._clock(), first_stages=first_stages))
        return damage

    def _resume(self) -> None:
        """Take up what an earlier coordinator, or an earlier failure, left undone."""
        self._journal.require_current()  # a superseded coordinator would publish, and destroy, by an old state
        if self._is_quiet and not self._is_swept:  # at first, and after a failure
            self._is_swept = True
            self._publisher.sweep(self._board.lineages, self._board.at_work)
        if self._board.is_stalled:
            self._record(WorkResumed(at=self._clock()))
        for command in self._board.outstanding():
            if not (isinstance(command, RepairShard) and self._is_followed(command)):
                self._carry_out([command])

    def _is_followed(self, command: RepairShard) -> bool:
        return any(task.get_name() == command.command_id and not task.done() for task in self._tasks)

    async def _until(self, is_done: Callable[[], bool]) -> None:
        """Wait for the remedies at work until a condition holds.

        Raises ShardRepairFailed where none is left to wait for, and what kept an outcome from being recorded.
        """
        while not is_done():
            if not self._tasks:
                shard, error = self._failure or (-1, RuntimeError("nothing is at work"))
                raise ShardRepairFailed(shard, f"{type(error).__name__}: {error}") from error
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises where the outcome could not be recorded

    def _record(self, event: Event) -> None:
        self._journal.append(event)
        self._apply(event)

    def _apply(self, event: Event) -> None:
        self._receipts.handle(event)
        self._carry_out(self._board.handle(event))

    def _carry_out(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case PublishGeneration():
                    self._apply(self._publisher.publish(command))
                case RepairShard():
                    task = asyncio.create_task(self._follow(command), name=command.command_id)
                    self._tasks.add(task)
                    task.add_done_callback(self._ended)
                case Purge():
                    self._purge(command)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception():  # its outcome could not be recorded
            self._is_swept = False

    async def _follow(self, command: RepairShard) -> None:
        """See one remedy through; what goes wrong is an event too."""
        report: WorkReport | None
        try:
            report = await self._fleet.run(self._task(command), self._tell)
        except Exception as error:  # whatever it was, the request stays accepted and the caller is told
            report = self._store.reports.find(RepairReport, command.command_id)
            if report is None:
                self._failure = (command.shard, error)
                self._record(ShardFailed(at=self._clock(), shard=command.shard, command_id=command.command_id))
                # What it wrote before it broke off: its next attempt may forget more, and leave this behind.
                needed = self._publisher.needed(self._board.lineages, self._board.at_work)
                self._store.sweep_shard(needed, command.shard)
                return
        assert isinstance(report, RepairReport)
        self._reports.append(report)
        self._record(ShardRepaired(at=self._clock(), report=report))
        self._store.reports.drop([report.command_id])

    def _task(self, command: RepairShard) -> RepairTask:
        held = self._journal.sample_ids(shard=command.shard)
        unseen = self._journal.sample_ids(shard=command.references[0].shard) if command.references else {}
        return RepairTask(
            command=command,
            forget=_union(ids for request_id, ids in held.items() if request_id in command.request_ids),
            unseen_forgotten=_union(unseen.values()),
            epoch=self._epoch,
        )

    def _purge(self, command: Purge) -> None:
        forgotten = self._publisher.samples_of(command.request_ids)
        event = self._publisher.purge(command, self._receipts)
        self._desk.forget(forgotten, [lineage.table for lineage in self._board.lineages])
        self._apply(event)

    @contextmanager
    def _listening(self, progress: Progress) -> Iterator[None]:
        """Around a call that may start remedies."""
        self._listeners.append(progress)
        self._is_quiet = not self._tasks
        try:
            yield
        except BaseException:
            self._is_swept = False
            raise
        finally:
            self._listeners.remove(progress)

    def _tell(self, stage: StageTrained) -> None:
        for listener in self._listeners:
            listener(stage)


def _reported(done: WorkReport | BaseException) -> WorkReport:
    if isinstance(done, BaseException):
        raise done
    return done


def _union(sets: Iterable[frozenset[SampleId]]) -> frozenset[SampleId]:
    return frozenset[SampleId]().union(*sets)


def _request_id(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:12]}"


def _require_apart(resolved: Sequence[ResolvedRevocation]) -> None:
    """Raises RequestInvalid where two requests of one submission have the same key, or name the same sample."""
    keys = Counter(one.request.key for one in resolved if one.request.key)
    for key, count in keys.items():
        if count > 1:
            raise RequestInvalid(f"key {key!r} is given to more than one of these requests; give each its own")
    counts = Counter(identity_hash for one in resolved for identity_hash in one.request.hashes)
    twice = sum(count > 1 for count in counts.values())
    if twice:
        raise RequestInvalid(f"{twice} samples are named by more than one of these requests; name each sample once")
