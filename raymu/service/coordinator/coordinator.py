"""The coordinator of a run: the calls on it, from acceptance to result."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from raymu.config import UnlearningConfig
from raymu.core.board.board import RevocationBoard
from raymu.core.deadlines import Deadline, deadlines
from raymu.core.events import RevocationsAccepted, RunExtended, RunTrained, UnlearningConfigured
from raymu.core.receipt import Receipt
from raymu.core.records import ShardLineage
from raymu.data.frames import TableData
from raymu.errors import CoordinatorLost, CoordinatorSuperseded, RaymuError, RequestInvalid, RunInvalid, mark_unfinished
from raymu.service.coordinator.calls import (
    Accept,
    Call,
    Configure,
    Extend,
    ExtendResult,
    Locations,
    Rebuild,
    RebuildResult,
    Result,
    Revoke,
    RevokeResult,
    Settle,
    SettleResult,
    Submit,
    Train,
    TrainingResult,
    WarmUp,
)
from raymu.service.coordinator.executor import Executor, Observer
from raymu.service.coordinator.purged_files import PurgedFilesCloser
from raymu.service.coordinator.registration import Registration
from raymu.service.coordinator.resumption import Resumption, retrain_inconclusive, settle_requests
from raymu.service.coordinator.run_state import check_requests, read_before_takeover, read_state
from raymu.service.coordinator.session import Offload, Session, inline
from raymu.service.history import replay
from raymu.service.issued_receipts import JournalReceipts
from raymu.service.requests.admission import Admission
from raymu.service.requests.admission_rules import AdmittedRequest, submission_result
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.shard.fleet import ShardFleet
from raymu.service.shard.messages import Progress
from raymu.store.run import RunStore

if TYPE_CHECKING:
    from raymu.service.extension import Extension  # which needs PyTorch

REQUESTS_PER_COMMIT = 1000
"""Requests of a submission that are one event, and one commit."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Coordinator:
    """The one process that changes a run. Opening it takes the run over: an earlier coordinator can no longer write."""

    def __init__(
        self,
        store: RunStore,
        fleet: ShardFleet,
        *,
        clock: Callable[[], datetime] = utc_now,
        offload: Offload = inline,
        observers: Sequence[Observer] = (),
        requests_per_commit: int = REQUESTS_PER_COMMIT,
        first: Sequence[Revocation] = (),
        readiness_s: float = 0.0,
    ) -> None:
        """Take over a run.

        Args:
            store: The run.
            fleet: Carries the work out.
            clock: Returns the current time, with a time zone.
            offload: Runs functions that wait for files or the database.
            observers: Called at every event.
            requests_per_commit: Requests of a submission that are one event.
            first: Requests of the first call. The run is not taken over if one of them is refused.
            readiness_s: Seconds for which a look at the keys and the room of the storage holds. Every acceptance looks
                again by default.

        Raises:
            RaymuError: A request is refused, as `revoke` refuses it.
            RunInvalid: The journal is missing, or older than the files.
            FileCorrupt: The journal is not what was written.
            StorageFailed: The term cannot be written.
        """
        self._fleet, self._requests_per_commit = fleet, requests_per_commit
        self._readiness_s, self._ready_until = readiness_s, -math.inf
        if first:
            state = check_requests(store, first, workers=fleet.workers, now=clock())
        else:
            state = read_before_takeover(store, workers=fleet.workers)
        self._session = session = Session(store, clock=clock, offload=offload)
        if state is None or state.head != session.journal.head():
            state = read_state(store, session.journal, workers=fleet.workers)
        self._opened_at = session.journal.written
        history, samples = state.history, state.samples
        history.receipts.issued = JournalReceipts(store, session.journal)
        self._samples = samples
        store.bind_key()
        if history.configured and history.configured != store.config.unlearning:
            # A crash came after the event, before the manifest was written.
            store.configure(history.configured)
        self._admission = Admission(store, session.journal, history, samples)
        self._executor = Executor(session, fleet, history, observers=(*observers, PurgedFilesCloser(samples)))
        self._publisher = self._executor.publisher
        self._registration = Registration(session)

    async def call(self, call: Call[Result], progress: Progress) -> Result:
        """Carry out one call. Raises what the method that carries it out raises.

        The error of a call is marked if the journal was written before it: something was begun, and is not finished.
        `Accept`, `Revoke` and `Submit` mark theirs themselves.
        """
        head = self._session.journal.written
        try:
            if self._publisher.published and not isinstance(call, WarmUp | Locations | Configure):
                await self._accept_lost_requests()
            return await self._carry_out(call, progress)
        except BaseException as error:
            if not isinstance(call, Accept | Revoke | Submit) and self._session.journal.written != head:
                mark_unfinished(error)
            raise

    async def _carry_out(self, call: Call[Result], progress: Progress) -> Result:
        result: Any = None
        match call:
            case WarmUp():
                await self._fleet.warm_up()
            case Train():
                await self._fleet.warm_up()  # so that the result's seconds are those of training
                result = await self.train(progress)
            case Revoke(revocations=revocations):
                result = await self.revoke_with_results(revocations, progress)
            case Accept(revocations=revocations):
                result = await self.accept(revocations)
            case Submit(revocations=revocations):
                result = await self.submit(revocations, progress)
            case Settle(due_by=due_by, publish=publish):
                result = await self.settle(progress, due_by=due_by, publish=publish)
            case Rebuild(data=data):
                result = await self.rebuild(progress, data=data)
            case Extend(extension=extension):
                result = await self.extend(extension, progress)
            case Configure(unlearning=unlearning):
                await self.configure(unlearning)
            case Locations():
                result = await self._fleet.locations()
            case _:
                raise AssertionError(f"a coordinator has no case for {type(call).__name__}")
        return cast(Result, result)

    async def train(self, progress: Progress) -> TrainingResult:
        """Train the shards that are not trained yet, side by side, and publish the first generation.

        Raises:
            RunInvalid: The run is trained.
            TrainingFailed: A shard cannot be trained with these settings.
        """
        executor = self._executor
        if self._publisher.published:
            location = self._session.store.files.display_location
            raise RunInvalid(location, "is trained already; name another directory to train anew")
        started = time.perf_counter()
        with executor.progress_to(progress):
            await executor.resume()
            await executor.wait_for_work(self._is_trained)
        seconds = time.perf_counter() - started
        await executor.wait_until(self._is_trained)
        reports = executor.trained.values()
        return TrainingResult(
            generation=self._publisher.generation,
            samples=sum(report.lineage.samples for report in reports),
            passes=sum(report.passes for report in reports),
            compute_seconds=sum(report.seconds for report in reports),
            seconds=seconds,
        )

    async def adopt(self, lineages: Sequence[ShardLineage]) -> None:
        """Publish states of another run as this run's first generation. Copies of their files must be in this run."""
        now, workers = self._session.clock(), self._fleet.workers
        await self._executor.record(RunTrained(at=now, lineages=tuple(lineages), workers=workers))

    async def revoke(self, revocations: Sequence[Revocation], progress: Progress) -> list[Receipt]:
        """Carry out requests as `revoke_with_results`, and return their receipts alone."""
        return [*(await self.revoke_with_results(revocations, progress)).receipts]

    async def revoke_with_results(self, revocations: Sequence[Revocation], progress: Progress) -> RevokeResult:
        """Accept all of these requests or none, and carry them out: rewind, repair, publish, purge.

        Requests that wait for the same shard share its repair.

        Raises:
            RaymuError: RequestInvalid, UnknownSamples, UnknownOwner, SamplesRevoked or IdempotencyConflict. None of the
                requests is accepted then.
            ShardRepairFailed: A repair failed. The requests stay accepted, and settling finishes them.
            CoordinatorSuperseded: Another coordinator took over. It finishes the requests if they were accepted before.
        """
        executor = self._executor
        await executor.repeat_lost_revocations()
        if not self._publisher.published:
            async with self._session.turn():
                await self._admit_together(revocations)  # refuses before it trains
            await self._finish_training(progress)
        with executor.progress_to(progress):
            async with self._session.turn():
                admitted, results = await self._admit_together(revocations)
                # Before work resumes, so that repairs that an earlier failure left undone serve these requests too.
                await self._accept(admitted)
            with _marking(results):
                await self._run_to_completion(results)
        accepted = [result.request_id for result in results if result.request_id]
        receipts_of = await self._session.offload(partial(executor.receipts.of, accepted))
        receipts = tuple(receipts_of[request_id].at(self._session.clock()) for request_id in accepted)
        return RevokeResult(receipts=receipts, results=tuple(results))

    async def submit(self, revocations: Sequence[Revocation], progress: Progress) -> list[SubmissionResult]:
        """Accept or refuse many requests, each by itself, and carry them out. Each touched shard is repaired once.

        Raises:
            RaymuError: StorageFailed or ShardRepairFailed. What was committed stays accepted, and is recognised when it
                is submitted again.
        """
        await self._executor.repeat_lost_revocations()
        await self._finish_training(progress)
        results: list[SubmissionResult] = []
        with self._executor.progress_to(progress), _marking(results):
            results += await self.accept(revocations)
            await self._run_to_completion(results)
        return results

    async def accept(self, revocations: Sequence[Revocation]) -> list[SubmissionResult]:
        """Accept or refuse requests as if they arrived one after another, and commit the accepted ones in groups.

        Nothing is rewound or repaired before the next call that resumes work: `submit`, `revoke` or `settle`.
        """
        results: list[SubmissionResult] = []
        with _marking(results):
            for start in range(0, len(revocations), self._requests_per_commit):
                group = revocations[start : start + self._requests_per_commit]
                async with self._session.turn(is_urgent=True):
                    admit = partial(self._admission.admit, group, now=self._session.clock())
                    admissions = await self._session.offload(admit)
                    admitted = [admission for admission in admissions if isinstance(admission, AdmittedRequest)]
                    await self._accept(admitted, is_part=True)
                results.extend(submission_result(admission) for admission in admissions)
        return results

    async def settle(
        self, progress: Progress, *, due_by: datetime | None = None, publish: bool = False
    ) -> SettleResult:
        """Retrain every shard that was only patched, and finish interrupted work, training included.

        A group of repaired requests that has waited long enough becomes visible. Without `due_by`, a shard that is
        inconclusive then, as after an upgrade of torch, is trained from its first stage.

        Does not wait for repairs that other calls started. Files that those repairs still read are purged when they end.

        Args:
            progress: Called after every trained stage.
            due_by: Settle only requests that are due by then.
            publish: Make the group visible in any case, once everything is settled.
        """
        executor = self._executor
        resumption = Resumption(executor)
        started = await executor.repeat_lost_revocations()
        await self._finish_training(progress)
        began_at, before = self._session.clock(), executor.receipts.open
        due = {
            receipt.request_id
            for receipt in before
            if receipt.settled_at is None and (due_by is None or receipt.due_at <= due_by)
        }
        with executor.progress_to(progress), executor.receipts.watching_settled() as ids:
            await resumption.begin(started)
            await settle_requests(executor, self._session, due)
            if due_by is None and not await self._is_inexact():
                await retrain_inconclusive(executor, self._session)
            await executor.wait_until(lambda: resumption.is_done)
            if publish:
                await executor.release_group()
                await executor.measure()
        reports = resumption.reports
        now = self._session.clock()
        receipts_of = await self._session.offload(partial(executor.receipts.of, ids))
        order = {receipt.request_id: number for number, receipt in enumerate(before)}
        settled = sorted(
            (receipt.at(now) for receipt in receipts_of.values() if receipt.accepted_at <= began_at),
            key=lambda receipt: (receipt.accepted_at, order.get(receipt.request_id, 0)),
        )
        return SettleResult(
            generation=self._publisher.generation,
            shards=tuple(sorted({report.shard for report in reports})),
            request_ids=tuple(receipt.request_id for receipt in settled),
            passes=sum(report.passes for report in reports),
            compute_seconds=sum(report.seconds for report in reports),
            missed=tuple(receipt.request_id for receipt in settled if receipt.due_met is False),
        )

    async def rebuild(self, progress: Progress, *, data: TableData | None = None) -> RebuildResult:
        """Restore missing or changed files: samples from a remaining copy, states by training again.

        Args:
            progress: Called after every trained stage.
            data: The file that the run was trained from.

        Raises:
            RunInvalid: The run is not trained yet.
            SamplesLost: No copy has the samples of a shard.
        """
        executor = self._executor
        if not self._publisher.published:
            location = self._session.store.files.display_location
            raise RunInvalid(location, "is not trained yet; run `raymu settle`, or train anew")
        resumption = Resumption(executor)
        with executor.progress_to(progress):
            damage, started = await executor.repair_damage(data)
            await resumption.begin(started)
            await executor.wait_until(lambda: resumption.is_done and not self.board.is_rebuilding)
        reports = resumption.reports
        return RebuildResult(
            generation=self._publisher.generation,
            files=tuple(file.path for shard_damage in damage for file in shard_damage.files),
            shards=tuple(sorted({report.shard for report in reports})),
            passes=sum(report.passes for report in reports),
            compute_seconds=sum(report.seconds for report in reports),
        )

    async def extend(self, extension: "Extension", progress: Progress) -> ExtendResult:
        """Add samples as further slices of their shards, and train the stages of these.

        Repairs that run or wait are finished before, because they read the tables that the new samples are added to.

        Args:
            extension: What to add.
            progress: Called after every trained stage.

        Raises:
            RaymuError: DataInvalid or RequestInvalid. Nothing is added then.
            ShardRepairFailed: A shard could not be trained. The samples are added, and settling finishes it.
        """
        executor = self._executor
        started = await executor.repeat_lost_revocations()
        await self._finish_training(progress)
        with executor.progress_to(progress):
            await Resumption(executor).begin(started)
            before = len(executor.reports)
            event = await self._add(extension)
            await executor.wait_until(lambda: not self.board.is_extending)
        reports = executor.reports[before:]
        return ExtendResult(
            generation=self._publisher.generation,
            samples=event.samples,
            left_out=event.left_out,
            slices=self.board.lineages[0].slices,
            shards=tuple(sorted({report.shard for report in reports})),
            passes=sum(report.passes for report in reports),
            compute_seconds=sum(report.seconds for report in reports),
            conversions=event.conversions,
        )

    async def _add(self, extension: "Extension") -> RunExtended:
        """Commit an extension once no repair runs or waits."""
        from raymu.service.extension import read_new_samples  # here, as it needs PyTorch

        executor, session = self._executor, self._session
        while True:
            await executor.resume()  # also what another call has accepted meanwhile
            await executor.wait_for_work(lambda: not (self.board.repairs or self.board.idle_with_work))
            tables, epochs = self.board.tables, self.board.epochs
            read = partial(read_new_samples, session.store, extension, tables, epochs, session.journal, self._samples)
            with closing(await session.offload(read)) as new:
                async with session.turn():
                    if self.board.repairs or self.board.idle_with_work or self.board.tables != tables:
                        continue  # requests were accepted meanwhile
                    await executor.require_open()
                    await session.require_current()
                    with executor.garbage.due_on_error():
                        await session.offload(session.store.require_ready)
                        samples = [self.board.samples_of(shard) for shard in range(len(tables))]
                        written = await session.offload(partial(new.write, session.store, samples))
                        event = RunExtended(
                            at=session.clock(),
                            tables=tuple(files.table for files in written.samples),
                            indexes=tuple(files.index for files in written.samples),
                            routes=written.routes,
                            slice_samples=new.slice_samples,
                            epochs=new.epochs,
                            left_out=new.left_out,
                            conversions=new.conversions,
                        )
                        await executor.record_in_turn(event)
                    return event

    async def configure(self, unlearning: UnlearningConfig) -> None:
        """Change the settings that later requests use by default. The run must be opened again afterwards.

        Raises:
            RequestInvalid: Work is running, or a setting cannot change after training.
        """
        session = self._session
        current = session.store.config.unlearning
        async with session.turn():
            is_interrupted_training = bool(self.board.training) and not self._executor.followed_shards
            if not (self.board.is_idle or is_interrupted_training):
                raise RequestInvalid("work of the run is running or left; settle it before its settings are changed")
            is_allowed = {
                "contributions": current.contributions.may_become(unlearning.contributions),
                "groups_per_slice": current.groups_per_slice == unlearning.groups_per_slice,
            }
            for name in (name for name, may_change in is_allowed.items() if not may_change):
                raise RequestInvalid(f"unlearning.{name} is what the run was trained for; train anew to change it")
            await self._executor.record_in_turn(UnlearningConfigured(at=session.clock(), unlearning=unlearning))
            await session.offload(partial(session.store.configure, unlearning))

    @property
    def workers(self) -> int:
        """Shards that are trained or repaired side by side."""
        return self._fleet.workers

    @property
    def board(self) -> RevocationBoard:
        """The state of the run, to be read only."""
        return self._executor.board

    @property
    def is_superseded(self) -> bool:
        """True if another coordinator has taken the run over since."""
        return self._session.is_superseded

    @property
    def is_interrupted(self) -> bool:
        """True if work is left and none is running."""
        return not (self._executor.followed_shards or self.board.is_idle)

    def deadlines(self) -> tuple[Deadline, ...]:
        """Return what is owed to requests that are not exact yet, the earliest due first."""
        owed = self.board.owed
        if not owed:
            return ()
        now, workers, receipts = self._session.clock(), self._fleet.workers, self._executor.receipts.open
        return deadlines(receipts, owed, self.board.settle_workloads(), now=now, workers=workers)

    @property
    def group_due_at(self) -> datetime | None:
        """When the repaired states that wait for their group become visible; None if none waits."""
        return self.board.group_due_at

    async def require_current(self) -> None:
        """Raise CoordinatorSuperseded after another takeover, and RunInvalid if the journal holds unknown events."""
        async with self._session.turn():
            await self._session.require_current()

    def receipt(self, request_id: str) -> Receipt:
        """Return a request's receipt as it stands now."""
        return self._executor.receipts.receipt(request_id).at(self._session.clock())

    def receipts(self) -> tuple[Receipt, ...]:
        """Return all receipts as they stand now, in the order of acceptance."""
        now, store = self._session.clock(), self._session.store
        receipts = replay(self._session.journal, store.manifest).receipts.receipts()
        return tuple(receipt.at(now) for receipt in receipts)

    async def close(self) -> None:
        """Leave the run. The next coordinator resumes the work that is running."""
        await self._executor.close()  # first, because closing the fleet fails the work that waits in it
        await self._fleet.close()
        try:
            with suppress(CoordinatorSuperseded):
                with suppress(CoordinatorLost):  # it was closed before
                    await self._executor.save_snapshot_if_due()
                await self._session.leave()
        except RaymuError as error:
            if self._session.journal.written != self._opened_at:
                mark_unfinished(error)
            raise

    async def _is_inexact(self) -> bool:
        """Return whether training shards again would give no more, since this run's training cannot be repeated."""
        if not any(lineage.inexact for lineage in self.board.lineages):
            return False
        from raymu.service.run_code import inexact_reasons  # here, as it needs PyTorch

        return bool(await self._session.offload(partial(inexact_reasons, self._session.store)))

    def _is_trained(self) -> bool:
        return self._publisher.published is not None

    async def _finish_training(self, progress: Progress) -> None:
        """Finish an interrupted training, or wait for the call that is training."""
        if not self._is_trained():
            with self._executor.progress_to(progress):
                await self._executor.resume()
                await self._executor.wait_until(self._is_trained)

    async def _admit_together(
        self, revocations: Sequence[Revocation]
    ) -> tuple[list[AdmittedRequest], list[SubmissionResult]]:
        admit = partial(self._admission.admit_together, revocations, now=self._session.clock())
        return await self._session.offload(admit)

    async def _accept(self, admitted: Sequence[AdmittedRequest], *, is_part: bool = False) -> None:
        """Commit requests, which acknowledges them. Within a turn."""
        await self._executor.require_open()
        if not admitted:
            return
        if time.monotonic() >= self._ready_until:
            await self._session.offload(self._session.store.require_ready)
            self._ready_until = time.monotonic() + self._readiness_s
        await self._registration.add(admitted)
        requests = tuple(admission.request for admission in admitted)
        event = RevocationsAccepted(
            at=self._session.clock(), requests=requests, generation=self._publisher.generation, is_part=is_part
        )
        commit = partial(
            self._session.journal.accept,
            event,
            forget={admission.request.request_id: admission.forget for admission in admitted},
            hashes={request.request_id: request.hashes for request in requests},
        )
        await self._session.offload(commit)
        try:
            await self._executor.apply(event)
        except BaseException as error:
            mark_unfinished(error, [request.request_id for request in requests])
            raise

    async def _accept_lost_requests(self) -> None:
        """Accept again what the registry of revoked subjects knows and the journal lacks, as in a restored backup."""
        async with self._session.turn():  # in which no request is between the registry and the journal
            lost = await self._registration.lost_requests(self._executor.board.tables)
        if lost:
            await self.accept(lost)

    async def _run_to_completion(self, results: Sequence[SubmissionResult]) -> None:
        """Wait until the accepted requests are rewound, repaired, published and purged."""
        await self._executor.resume()
        accepted = [result.request_id for result in results if result.request_id]
        is_purged = self._executor.receipts.is_purged
        await self._executor.wait_until(lambda: all(map(is_purged, accepted)))


@contextmanager
def _marking(results: Sequence[SubmissionResult]) -> Iterator[None]:
    """Mark an error with the requests that were accepted before it, which `results` has by then."""
    try:
        yield
    except BaseException as error:
        if request_ids := [result.request_id for result in results if result.request_id]:
            mark_unfinished(error, request_ids)
        raise
