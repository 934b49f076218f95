"""The coordinator of a run: takes requests in, has the board decide, and carries its commands out."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property, partial

from raymu.config import UnlearningConfig
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
    UnlearningConfigured,
    WorkResumed,
)
from raymu.core.receipt import Receipt
from raymu.core.records import RepairReport, RepairShard, SampleId, ShardLineage
from raymu.core.requests import Boundary
from raymu.errors import CoordinatorSuperseded, RaymuError, RequestInvalid, RunInvalid, ShardRepairFailed
from raymu.service.desk import RequestDesk
from raymu.service.fleet import ShardFleet
from raymu.service.history import replay, require_named
from raymu.service.outcomes import RebuildReport, SettleReport, TrainingReport
from raymu.service.publishing import Publisher
from raymu.service.requests import Answer, Judgement, ResolvedRevocation, Revocation, answer_to, require_apart
from raymu.service.salvage import Damage, find_damage, restore_samples
from raymu.service.tracking import AccuracyTrack
from raymu.service.work import Progress, RepairTask, ShardTrained, StageTrained, TrainShard, WorkReport
from raymu.store.run import RunStore

COMMITTED_TOGETHER = 1000
"""How many requests of a submission are one event, and one commit."""


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
        if history.configured and history.configured != store.config.unlearning:  # a crash came in between
            store.configure(history.configured)
        self._publisher = Publisher(store, self._journal, clock=clock, published=history.published)
        measured = (one.number for one in history.evaluations)
        self._track = AccuracyTrack(store, clock=clock, measured=measured)
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
        seconds = time.perf_counter() - started
        await self._track.follow(self._publisher.published, self._record)
        return TrainingReport(
            generation=1,
            samples=sum(lineage.samples for lineage in lineages),
            passes=sum(report.passes for report in trained),
            compute_seconds=sum(report.seconds for report in trained),
            seconds=seconds,
        )

    async def adopt(self, lineages: tuple[ShardLineage, ...]) -> None:
        """Publish states that another run has trained, as a branch does. lineages: whose files are there"""
        self._record(RunTrained(at=self._clock(), lineages=lineages, workers=self._fleet.workers))

    async def revoke(self, asked: Sequence[Revocation], progress: Progress) -> list[Receipt]:
        """Accept requests together and see them through: rewound, repaired, published, purged.

        Requests that wait for the same shard are served by one remedy.
        Raises RequestInvalid, UnknownSamples, SamplesRevoked, IdempotencyConflict, CoordinatorSuperseded, and then
        nothing is accepted; ShardRepairFailed, and then the requests stay accepted.
        """
        self._catch_up()
        resolved, answers = self._judge_together(asked)
        if not self._publisher.published:
            await self._be_trained(progress)
            resolved, answers = self._judge_together(asked)  # others may have come in meanwhile
        with self._listening(progress):
            self._accept(resolved)  # first: what an earlier failure left then shares its remedies
            await self._see_through(answers)
        return [self.receipt(one.request_id) for one in answers if one.request_id]

    async def submit(self, asked: Sequence[Revocation], progress: Progress) -> list[Answer]:
        """Accept or refuse many requests, each by itself, and see them through: each shard that they touch is repaired once.

        Raises StorageFailed, ShardRepairFailed: what was committed stays accepted, and is known when it is submitted again.
        """
        self._catch_up()
        await self._be_trained(progress)
        with self._listening(progress):
            answers = self.accept(asked)
            await self._see_through(answers)
        return answers

    def accept(self, asked: Sequence[Revocation]) -> list[Answer]:
        """Accept or refuse requests as if they came one after another; what is accepted is committed, in groups.

        It is rewound and repaired from the next `submit`, `revoke` or `settle` on.
        """
        answers: list[Answer] = []
        for start in range(0, len(asked), COMMITTED_TOGETHER):
            judgements = self._judge(asked[start : start + COMMITTED_TOGETHER])
            self._accept([one for one in judgements if isinstance(one, ResolvedRevocation)], is_part=True)
            answers.extend(answer_to(one) for one in judgements)
        return answers

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

    async def configure(self, unlearning: UnlearningConfig) -> None:
        """Choose what requests go by that name nothing else; open the run again afterwards.

        Raises RequestInvalid while work is under way, and for settings that training depended on.
        """
        own = self._store.config.unlearning
        try:
            Boundary.parse(unlearning.boundary)
        except ValueError as error:
            raise RequestInvalid(f"unlearning.boundary: {error}") from error
        if not self._board.is_idle:
            raise RequestInvalid("the run is at work; settle it before its settings are changed")
        for name in ("contributions", "groups_per_slice"):
            if getattr(own, name) != getattr(unlearning, name):
                raise RequestInvalid(f"unlearning.{name} is what the run was trained for; train anew to change it")
        self._record(UnlearningConfigured(at=self._clock(), unlearning=unlearning))
        self._store.configure(unlearning)

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

    def _judge_together(self, asked: Sequence[Revocation]) -> tuple[list[ResolvedRevocation], list[Answer]]:
        """Requests that are accepted all or none. returns: those that are to be accepted, and what each is told"""
        judgements = [judgement for one in asked for judgement in self._judge([one])]
        refusals = [one for one in judgements if isinstance(one, RaymuError)]
        if refusals:
            raise refusals[0]
        resolved = [one for one in judgements if isinstance(one, ResolvedRevocation)]
        require_apart(resolved)
        return resolved, [answer_to(one) for one in judgements]

    def _judge(self, asked: Sequence[Revocation]) -> list[Judgement]:
        return self._desk.judge(asked, by_key=self._requests_by_key, now=self._clock())

    def _accept(self, resolved: Sequence[ResolvedRevocation], *, is_part: bool = False) -> None:
        """Acknowledge requests: once this returns they are committed."""
        if not resolved:
            return
        requests = tuple(one.request for one in resolved)
        event = RevocationsAccepted(
            at=self._clock(), requests=requests, generation=self._publisher.generation, is_part=is_part
        )
        self._journal.accept(
            event,
            forget={one.request.request_id: one.forget for one in resolved},
            hashes={request.request_id: request.hashes for request in requests},
        )
        self._requests_by_key.update({request.key: request for request in requests if request.key})
        self._apply(event)

    def _catch_up(self) -> None:
        """Where the files are an old copy, what the journal knows to be revoked since is taken out of them again."""
        self._store.files.fence()  # a superseded coordinator would answer by an old state
        if self._publisher.is_behind:  # so it is the first call: nothing else is at work
            self._make_sound()
            self._publisher.sweep(self._board.lineages, self._board.at_work)

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

    async def _see_through(self, answers: Sequence[Answer]) -> None:
        """Until what is accepted is rewound, repaired, published and purged."""
        self._resume()
        request_ids = [one.request_id for one in answers if one.request_id]
        await self._until(lambda: all(self._receipts.receipt(one).purged_at for one in request_ids))

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
        """Wait for the remedies at work until a condition holds, and measure what they led to.

        Raises ShardRepairFailed where none is left to wait for, and what kept an outcome from being recorded.
        """
        while not is_done():
            if not self._tasks:
                shard, error = self._failure or (-1, RuntimeError("nothing is at work"))
                raise ShardRepairFailed(shard, f"{type(error).__name__}: {error}") from error
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises where the outcome could not be recorded
        if not self._board.at_work:
            await self._track.follow(self._publisher.published, self._record)

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
                    task.add_done_callback(partial(self._end, command.shard))
                case Purge():
                    self._purge(command)

    def _end(self, shard: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error:  # its outcome could not be recorded
            self._is_swept = False
        if error:  # told to whoever waits, or comes to wait
            self._failure = (shard, error)

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
                with self._journal.writing():
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
            forget=_union(held[request_id] for request_id in command.request_ids if request_id in held),
            unseen_forgotten=_union(unseen.values()),
            epoch=self._epoch,
        )

    def _purge(self, command: Purge) -> None:
        raw_ids = self._journal.raw_ids(command.request_ids)
        event = self._publisher.purge(command, self._receipts)
        self._desk.forget(_union(ids for by_shard in raw_ids.values() for ids in by_shard.values()))
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
