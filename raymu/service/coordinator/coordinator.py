"""The coordinator of a run: what is asked of it, from acceptance to the answer."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

from raymu.config import UnlearningConfig
from raymu.core.deadlines import Deadline, deadlines
from raymu.core.events import RevocationsAccepted, UnlearningConfigured
from raymu.core.receipt import Receipt
from raymu.core.records import ShardLineage
from raymu.errors import CoordinatorSuperseded, RequestInvalid, RunInvalid
from raymu.service.coordinator.calls import (
    Call,
    Configure,
    Locations,
    Rebuild,
    RebuildResult,
    Result,
    Revoke,
    Settle,
    SettleResult,
    Submit,
    Train,
    TrainingResult,
    WarmUp,
)
from raymu.service.coordinator.executor import Executor, Observer
from raymu.service.coordinator.resumption import Resumption, settle_requests
from raymu.service.coordinator.training import Training
from raymu.service.history import replay, require_named
from raymu.service.requests.admission import Admission
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.requests.rules import AdmittedRequest, submission_result
from raymu.service.shard.fleet import ShardFleet
from raymu.service.shard.messages import Progress
from raymu.store.run import RunStore

COMMITTED_TOGETHER = 1000
"""How many requests of a submission are one event, and one commit."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Coordinator:
    """One per run. It takes the run over on opening it: an earlier coordinator can write no more."""

    def __init__(
        self,
        store: RunStore,
        fleet: ShardFleet,
        *,
        clock: Callable[[], datetime] = utc_now,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Raises RunInvalid, FileMissing, FileCorrupt."""
        self._store, self._fleet, self._clock = store, fleet, clock
        self._journal, self._term = store.take_over()
        history = replay(self._journal, store.manifest, workers=fleet.workers)
        require_named(store, self._journal, history)
        if history.configured and history.configured != store.config.unlearning:  # a crash came in between
            store.configure(history.configured)
        self._desk = Admission(store, self._journal, history)
        self._execution = Executor(
            store,
            self._journal,
            fleet,
            history,
            term=self._term,
            clock=clock,
            forget=self._desk.forget,
            observers=observers,
        )
        self._board, self._publisher = self._execution.board, self._execution.publisher
        self._training = Training(store, self._journal, fleet, self._execution, term=self._term, clock=clock)

    async def call(self, call: Call[Result], progress: Progress) -> Result:
        """Carry out one call. Raises what the method of its name raises."""
        result: Any = None
        match call:
            case WarmUp():
                await self._fleet.warm_up()
            case Train():
                await self._fleet.warm_up()  # so that the result's seconds are those of training
                result = await self.train(progress)
            case Revoke(revocations=revocations):
                result = await self.revoke(revocations, progress)
            case Submit(revocations=revocations):
                result = await self.submit(revocations, progress)
            case Settle(due_by=due_by):
                result = await self.settle(progress, due_by=due_by)
            case Rebuild(data=data):
                result = await self.rebuild(progress, data=data)
            case Configure(unlearning=unlearning):
                await self.configure(unlearning)
            case Locations():
                result = await self._fleet.locations()
            case _:
                raise AssertionError(f"a coordinator has no case for {type(call).__name__}")
        return cast(Result, result)

    async def train(self, progress: Progress) -> TrainingResult:
        """Train every shard, side by side, and publish the first generation; shards that are trained already stay so.

        Raises RunInvalid where the run is trained, TrainingFailed.
        """
        return await self._training.train(progress)

    def adopt(self, lineages: Sequence[ShardLineage]) -> None:
        """Publish states that another run trained as this run's first generation. Their files must be in this run."""
        self._training.record(tuple(lineages))

    async def revoke(self, asked: Sequence[Revocation], progress: Progress) -> list[Receipt]:
        """Accept requests together and see them through: rewound, repaired, published, purged.

        Requests that wait for the same shard are served by one remedy.
        Raises RequestInvalid, UnknownSamples, SamplesRevoked, IdempotencyConflict, CoordinatorSuperseded, and then
        nothing is accepted; ShardRepairFailed, and then the requests stay accepted.
        """
        self._execution.catch_up()
        resolved, answers = self._desk.admit_together(asked, now=self._clock())
        if not self._publisher.published:
            await self._training.finish(progress)
            resolved, answers = self._desk.admit_together(asked, now=self._clock())  # others may have come in meanwhile
        with self._execution.listening(progress):
            self._accept(resolved)  # first: what an earlier failure left then shares its remedies
            await self._see_through(answers)
        return [self.receipt(one.request_id) for one in answers if one.request_id]

    async def submit(self, asked: Sequence[Revocation], progress: Progress) -> list[SubmissionResult]:
        """Accept or refuse many requests, each by itself, and see them through: each shard that they touch is repaired once.

        Raises StorageFailed, ShardRepairFailed: what was committed stays accepted, and is known when it is submitted again.
        """
        self._execution.catch_up()
        await self._training.finish(progress)
        with self._execution.listening(progress):
            answers = self.accept(asked)
            await self._see_through(answers)
        return answers

    def accept(self, asked: Sequence[Revocation]) -> list[SubmissionResult]:
        """Accept or refuse requests as if they came one after another; what is accepted is committed, in groups.

        It is rewound and repaired from the next `submit`, `revoke` or `settle` on.
        """
        answers: list[SubmissionResult] = []
        for start in range(0, len(asked), COMMITTED_TOGETHER):
            judgements = self._desk.admit(asked[start : start + COMMITTED_TOGETHER], now=self._clock())
            self._accept([one for one in judgements if isinstance(one, AdmittedRequest)], is_part=True)
            answers.extend(submission_result(one) for one in judgements)
        return answers

    async def settle(self, progress: Progress, *, due_by: datetime | None = None) -> SettleResult:
        """Retrain every shard that was only patched, and take up what an interruption left: training too.

        due_by: only what is owed to requests that are due by then
        It waits for nobody else's remedies: what those aim at is destroyed, and receipted, once they are done.
        """
        resumption = Resumption(self._execution)
        self._execution.catch_up()
        await self._training.finish(progress)
        unsettled = [one for one in self._execution.receipts.receipts() if one.settled_at is None]
        due = {one.request_id for one in unsettled if due_by is None or one.due_at <= due_by}
        with self._execution.listening(progress):
            resumption.begin()
            await settle_requests(self._execution, due, clock=self._clock)
            await self._execution.until(lambda: resumption.is_over)
        done = resumption.reports
        return SettleResult(
            generation=self._publisher.generation,
            shards=tuple(sorted({report.shard for report in done})),
            request_ids=tuple(one.request_id for one in unsettled if self.receipt(one.request_id).settled_at),
            passes=sum(report.passes for report in done),
            compute_seconds=sum(report.seconds for report in done),
        )

    async def rebuild(self, progress: Progress, *, data: str | None = None) -> RebuildResult:
        """Make good what is missing or changed: samples from a copy that is at hand, states by training again.

        data: the file that the run was trained from. Raises RunInvalid where the run is not trained yet, SamplesLost.
        """
        if not self._publisher.published:
            raise RunInvalid(
                self._store.files.display_location, "is not trained yet; run `raymu settle`, or train anew"
            )
        resumption = Resumption(self._execution)
        with self._execution.listening(progress):
            damage = self._execution.make_sound(data)
            resumption.begin()
            await self._execution.until(lambda: resumption.is_over and not self._board.is_rebuilding)
        done = resumption.reports
        return RebuildResult(
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
        if self._training.is_at_work or not self._board.is_idle:
            raise RequestInvalid("the run is at work; settle it before its settings are changed")
        for name in ("contributions", "groups_per_slice"):
            if getattr(own, name) != getattr(unlearning, name):
                raise RequestInvalid(f"unlearning.{name} is what the run was trained for; train anew to change it")
        self._execution.record(UnlearningConfigured(at=self._clock(), unlearning=unlearning))
        self._store.configure(unlearning)

    @property
    def workers(self) -> int:
        return self._fleet.workers

    @property
    def is_interrupted(self) -> bool:
        """Whether something is left to do, and nobody is at it."""
        return not (self._execution.at_work or self._board.is_idle)

    def deadlines(self) -> tuple[Deadline, ...]:
        """What is owed to the requests that are not exact yet, the earliest due first."""
        owed = self._board.owed
        if not owed:
            return ()
        now, workers, receipts = self._clock(), self._fleet.workers, self._execution.receipts.receipts()
        return deadlines(receipts, owed, self._board.settle_workloads(), now=now, workers=workers)

    def require_current(self) -> None:
        """Raises CoordinatorSuperseded where a later coordinator has taken the run over, RunInvalid where this one has lost
        track of the journal.
        """
        self._journal.require_current()

    def receipt(self, request_id: str) -> Receipt:
        """As it stands now."""
        return self._execution.receipts.receipt(request_id).at(self._clock())

    async def close(self) -> None:
        self._execution.close()  # first: who waits in the fleet is sent away
        await self._fleet.close()
        with suppress(CoordinatorSuperseded):  # then its successor closes the journal
            self._store.fencing.release(self._journal, self._term)

    def _accept(self, resolved: Sequence[AdmittedRequest], *, is_part: bool = False) -> None:
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
        self._desk.remember(requests)
        self._execution.take_in(event)

    async def _see_through(self, answers: Sequence[SubmissionResult]) -> None:
        """Until what is accepted is rewound, repaired, published and purged."""
        self._execution.resume()
        accepted = [one.request_id for one in answers if one.request_id]
        await self._execution.until(lambda: all(self._execution.receipts.receipt(one).purged_at for one in accepted))
