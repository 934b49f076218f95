"""One run at the service: where its requests are accepted, and what carries them out."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from raymu.api import Run
from raymu.core.uri import basename
from raymu.service.coordinator.background import LONG_AGO, BackgroundCoordinator
from raymu.service.coordinator.calls import Accept, Settle
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.web.intake import Intake

EVERY_S = 10.0
"""Seconds between two looks at what is due."""
_AFTER_FAILURE_S = 60.0

logger = logging.getLogger(__name__)


class Remedy(Protocol):
    """Accepts the requests of one run, and carries them out in the background."""

    async def accept(self, revocations: Sequence[Revocation]) -> list[SubmissionResult]:
        """Commit those requests that are not refused. Raises RaymuError."""
        ...

    async def prepare(self) -> None:
        """Do what would make the first request wait."""
        ...

    async def do_due_work(self) -> None:
        """Finish what an earlier failure left, and settle what is due. Raises RaymuError."""
        ...

    async def wait_until_idle(self) -> None:
        """Wait until what was accepted is carried out, or has failed."""
        ...

    async def close(self) -> None: ...


class LookObserver(Protocol):
    """Watches the looks at what a run has to do by itself."""

    def on_look(self, *, is_done: bool) -> None:
        """Observe that what was due is done, or that it failed."""


class ClusterRemedy:
    """The coordinator of a run on a Ray cluster, which serves several calls at once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._work: asyncio.Task[None] | None = None
        self._has_news = False

    async def accept(self, revocations: Sequence[Revocation]) -> list[SubmissionResult]:
        results = await asyncio.to_thread(self._call_accept, tuple(revocations))
        if any(result.request_id for result in results):
            self._has_news = True
            if self._work is None or self._work.done():
                self._work = asyncio.get_running_loop().create_task(self._carry_out())
        return results

    async def prepare(self) -> None:
        """Do nothing: the coordinator's process has imported what it needs."""

    async def do_due_work(self) -> None:
        """Do what is left: the detached coordinator looks at deadlines itself."""
        if self._run.waiting():
            await asyncio.to_thread(self._settle)

    async def wait_until_idle(self) -> None:
        while self._work is not None and not self._work.done():
            await asyncio.wait([self._work])

    async def close(self) -> None:
        """Leave the coordinator. One that is detached goes on."""
        await self.wait_until_idle()
        await asyncio.to_thread(self._run.close)

    def _call_accept(self, revocations: tuple[Revocation, ...]) -> list[SubmissionResult]:
        return self._run.coordinator().call(Accept(revocations=revocations))

    def _settle(self) -> None:
        self._run.coordinator().call(Settle(due_by=LONG_AGO))

    async def _carry_out(self) -> None:
        while self._has_news:
            self._has_news = False
            try:
                await asyncio.to_thread(self._settle)
            except Exception as problem:  # the next request, or the next look at what is due, tries again
                logger.warning("accepted requests could not be carried out yet: %s", type(problem).__name__)


class ServedRun:
    """A run that the service serves."""

    def __init__(self, run: Run, name: str, observer: LookObserver) -> None:
        """Open the run's intake.

        Args:
            run: The run.
            name: What callers call it.
            observer: Called after each look at what is due.
        """
        self.run, self.name, self._observer = run, name, observer
        is_local = run.cluster.fleet == "local" or not run.is_on_cluster()
        self._remedy: Remedy = BackgroundCoordinator(run.location, trust=run.trust) if is_local else ClusterRemedy(run)
        self._intake = Intake(self._remedy.accept)
        self._looking: asyncio.Task[None] | None = None
        self.accepted = 0
        """Requests that were accepted here, counted before their acknowledgement is sent."""
        self.is_ready = False
        """Whether the run was opened, and what an earlier failure left is under way."""

    def begin(self) -> None:
        """Begin to look at what is due, now and then."""
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def submit(self, revocation: Revocation) -> SubmissionResult:
        """Accept a request, or refuse it. It is committed once this returns. Raises RaymuError."""
        result = await self._intake.submit(revocation)
        if result.request_id:
            self.accepted += 1
        return result

    async def wait_until_idle(self) -> None:
        """Wait until what was accepted is carried out, or has failed."""
        await self._remedy.wait_until_idle()

    async def close(self) -> None:
        """Commit what has arrived, and leave the run."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._intake.close()
        await self._remedy.close()
        await asyncio.to_thread(self.run.close)

    async def _look(self) -> None:
        while True:
            pause_s = EVERY_S
            try:
                if not self.is_ready:
                    await self._remedy.prepare()
                await self._remedy.do_due_work()
                self.is_ready = True
                self._observer.on_look(is_done=True)
            except Exception as problem:  # it may pass
                logger.warning("due work failed: %s", type(problem).__name__)  # its text may hold a path
                pause_s = _AFTER_FAILURE_S
                self._observer.on_look(is_done=False)
            await asyncio.sleep(pause_s)


def open_runs(runs: Sequence[Run], observe: Callable[[Run, str], LookObserver]) -> dict[str, ServedRun]:
    """Open the runs of a service: name -> run.

    Args:
        runs: The runs.
        observe: Returns what observes a run, by its name.
    """
    return {name: ServedRun(run, name, observe(run, name)) for name, run in zip(run_names(runs), runs, strict=True)}


def run_names(runs: Sequence[Run]) -> list[str]:
    """Return what callers call the runs of a service. A name that several have is followed by the id of the run."""
    names = [basename(run.location) for run in runs]
    return [
        name if names.count(name) == 1 else f"{name}-{run.run_id[:8]}" for name, run in zip(names, runs, strict=True)
    ]
