"""A scenario of one run: which process has it open, how its disk fails, and what the requesters know."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeAlias

from raymu.config.unlearning import Strategy
from raymu.core.events import RevocationsAccepted
from raymu.core.receipt import Receipt
from raymu.core.verdict import Finding, Verdict
from raymu.errors import RaymuError, ShardRepairFailed
from raymu.service.coordinator.calls import SettleResult
from raymu.service.pseudonyms import identity_text, pseudonym
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import no_progress
from raymu.store.run import RunStore
from tests.support.faults import FaultyDisk, fail
from tests.system.model.observed_run import ObservedRun, Samples
from tests.system.model.process import Killed, Process
from tests.system.model.steered_fleet import SteeredFleet
from tests.system.model.templates import Setting, template

Verified: TypeAlias = tuple[Verdict, tuple[Finding, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SentRequest:
    """One request as its sender knows it."""

    samples: Samples
    strategy: Strategy
    boundary: str
    key: str | None
    unknown: tuple[str, ...] = ()
    """Ids that the run never held."""

    @property
    def revocation(self) -> Revocation:
        ids = (*sorted(str(sample.sample_id) for sample in self.samples), *self.unknown)
        return Revocation(ids=ids, strategy=self.strategy, boundary=self.boundary, key=self.key)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Submission:
    """Requests that were submitted together, and the reply that their sender waits for."""

    requests: tuple[SentRequest, ...]
    reply: "asyncio.Task[list[Receipt]]"
    is_early: bool
    """Whether the run was not trained yet: then it may be refused, or not be accepted, for long."""


class Scenario:
    """Carries out each step of a scenario, and checks the run after it."""

    def __init__(self, setting: Setting, work_folder: Path) -> None:
        self.template = template(setting, work_folder)
        self.location = self.template.copy(Path(mkdtemp(dir=work_folder)) / "run")
        self.run = ObservedRun(self.location, self.template.samples)
        self.process: Process | None = None
        self.zombie: Process | None = None
        self.disk = FaultyDisk(0, fail)  # of the process that is open, or of the next one
        self.is_calm = True
        """Whether nothing was struck since a coordinator last took up what was left."""
        self.matches_seal = True
        """Whether the last process left the run as it should."""
        self.submissions: list[Submission] = []
        self.accepted: dict[str, SentRequest] = {}
        self.past: list[dict[str, bytes]] = []  # all files, whenever they were looked at
        self.verified: tuple[dict[str, bytes], Verified] | None = None
        self.look()

    def open(self) -> None:
        self.matches_seal, is_armed = False, self.disk.is_armed
        try:
            self.process = Process(self.location, self.disk)
        except (RaymuError, OSError, Killed):
            assert is_armed, "a run that nothing is done to opens"
            self._forget_process()
        self.look()

    def open_beside(self) -> None:
        """Let another coordinator take over without the first one's knowledge."""
        self.zombie, self.process, self.disk = self.process, None, FaultyDisk(0, fail)
        self.open()

    def close(self) -> None:
        assert self.process
        try:
            self.process.close()
            self.matches_seal, self.process, self.disk = True, None, FaultyDisk(0, fail)
        except (RaymuError, OSError, Killed):
            self._forget_process()
        self.look()

    def kill(self) -> None:
        assert self.process
        self.process.abandon(is_last=self.zombie is None)
        self._forget_process()
        self.look()

    def abandon_zombie(self) -> None:
        assert self.zombie
        self.zombie.abandon(is_last=self.process is None)
        self.zombie = None

    def submit(self, requests: Sequence[SentRequest]) -> Submission:
        assert self.process
        reply = self.process.start(
            self.process.coordinator.revoke([request.revocation for request in requests], no_progress)
        )
        submission = Submission(requests=tuple(requests), reply=reply, is_early=not self.run.published)
        self.submissions.append(submission)
        self._aftermath(is_resumed=not reply.done())
        return submission

    def settle(self, *, publish: bool = False) -> "asyncio.Task[SettleResult]":
        assert self.process
        task = self.process.start(self.process.coordinator.settle(no_progress, publish=publish))
        self._aftermath(is_resumed=True)
        return task

    def steer(self, action: Callable[[SteeredFleet], None]) -> None:
        assert self.process
        try:
            self.process.steer(action)
        except Killed:
            assert self.process.is_dead
        self._aftermath()

    def run_to_completion(self) -> None:
        """Let the workers work until no work is left, or their process is dead."""
        for _ in range(99):
            if self.process and self.process.fleet.running:
                self.steer(SteeredFleet.finish)

    def finish(self) -> None:
        """Finish all work, settle every patched shard, and make what waits for a group visible."""
        is_settled = False
        while not is_settled:  # again if requests were accepted after settling began
            task = self.settle(publish=True)
            while not task.done():
                assert self.process
                assert self.process.fleet.running, "somebody waits, and nothing is at work"
                self.steer(SteeredFleet.finish)
            task.result()
            is_settled = not any(lineage.debts for lineage in self.run.board.lineages)

    def remove(self) -> None:
        if self.zombie:
            self.abandon_zombie()
        if self.process:
            self.kill()
        shutil.rmtree(self.location.parent)

    def is_refused(self, requests: Sequence[SentRequest]) -> bool:
        """Whether requests that are submitted together are refused, which is so if one of them is not acceptable."""
        by_key = {request.key: request for request in self.accepted.values() if request.key}
        fresh = [request for request in requests if request.key not in by_key]
        twice = Counter(
            [
                *(sample for request in fresh for sample in request.samples),
                *(request.key for request in fresh if request.key),
            ]
        )
        return (
            any(request != by_key[request.key] for request in requests if request.key in by_key)
            or any(request.unknown or not self.run.revoked.isdisjoint(request.samples) for request in fresh)
            or max(twice.values(), default=1) > 1
        )

    @property
    def files_at_rest(self) -> dict[str, bytes]:
        """The files of the run, except an empty log that readers create."""
        return {path: payload for path, payload in self.run.files.items() if payload or path != "journal.sqlite-wal"}

    def request_of(self, sent: SentRequest) -> str | None:
        return next((request_id for request_id, request in self.accepted.items() if request == sent), None)

    def look(self) -> None:
        known = len(self.run.events)
        self.run.look()
        for event in self.run.events[known:]:
            if isinstance(event, RevocationsAccepted):
                self._match(event)
        self.past.append(self.files_at_rest)

    def _aftermath(self, *, is_resumed: bool = False) -> None:
        assert self.process
        if self.process.disk.has_struck:
            self.is_calm = False
        elif is_resumed:
            self.is_calm = True
        if self.process.is_dead:
            self.kill()
        self.look()
        self.submissions = [submission for submission in self.submissions if self._is_awaited(submission)]

    def _is_awaited(self, submission: Submission) -> bool:
        """Check that awaited requests are accepted, despite failures, and that answered requests are purged."""
        if not submission.reply.done():
            if not submission.is_early:
                self.require_accepted(submission)
            return True
        error = None if submission.reply.cancelled() else submission.reply.exception()
        if isinstance(error, ShardRepairFailed):
            self.require_accepted(submission)
        elif not (submission.reply.cancelled() or error):
            request_ids = [receipt.request_id for receipt in submission.reply.result()]
            assert request_ids == [self.request_of(request) for request in submission.requests]
            assert self.run.purged >= set(request_ids)
        return False

    def require_accepted(self, submission: Submission) -> None:
        assert None not in [self.request_of(request) for request in submission.requests], (
            "what is acknowledged is in the journal"
        )

    def _match(self, event: RevocationsAccepted) -> None:
        """Check that each accepted request was submitted, is accepted once, and together with its submission."""
        hash_key = RunStore(str(self.location)).keys.hash_key
        sent_keys = {request.key for submission in self.submissions for request in submission.requests if request.key}
        keys = {pseudonym(identity_text("key", key), hash_key): key for key in sent_keys}
        for request in event.requests:
            sent = SentRequest(
                samples=self.run.accepted[request.request_id],
                strategy=request.strategy,
                boundary=str(request.boundary),
                key=keys[request.key] if request.key else None,
            )
            assert self.request_of(sent) is None
            self.accepted[request.request_id] = sent
        own = {self.accepted[request.request_id] for request in event.requests}
        assert any(
            own <= set(submission.requests) and None not in map(self.request_of, submission.requests)
            for submission in self.submissions
        )

    def _forget_process(self) -> None:
        self.process, self.is_calm, self.disk = None, False, FaultyDisk(0, fail)
