"""A coordinator in a process that stays up: it accepts requests at once, and carries them out meanwhile."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from importlib import import_module

from raymu.core.deadlines import SettleWindow, next_settle_window
from raymu.core.trust import Trust
from raymu.errors import CoordinatorLost, CoordinatorSuperseded, RaymuError, RunInvalid, unfinished_requests
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.coordinator.process_turn import ProcessTurn
from raymu.service.coordinator.session import in_thread
from raymu.service.event_log import EventLog
from raymu.service.followed_history import FollowedHistory
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.served import waiting_requests
from raymu.service.shard.fleet import ProgressFleet
from raymu.service.shard.messages import no_progress
from raymu.service.shard.process_fleet import ProcessFleet
from raymu.service.shard.thread_fleet import ThreadFleet
from raymu.service.status import status
from raymu.store.run import RunStore

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
"""A time by which nothing is due, so that settling only finishes interrupted work."""
IDLE_S = 1.0
"""How long the process keeps its turn after its work has ended, since requests often come in a row."""
READINESS_S = 1.0
"""How long a look at what requests need from the storage holds. It takes longer than a commit."""

logger = logging.getLogger(__name__)


class BackgroundCoordinator:
    """Accepts requests for one run, and carries them out in the background.

    Other commands may work on the run whenever this one is idle: it leaves the run's turn to them, and takes the run over
    again when the next request comes. All methods belong to one event loop.
    """

    def __init__(self, location: str, *, trust: Trust) -> None:
        """Name the run. It is taken over by the first call.

        Args:
            location: The run.
            trust: The demands of the run that are followed.
        """
        self._location, self._trust = location, trust
        store = RunStore(location, trust=trust)
        self._turn, self._due = ProcessTurn(store), _DueWork(store)
        self._coordinator: Coordinator | None = None
        self._opening, self._taking = asyncio.Lock(), asyncio.Lock()
        self._calls = 0
        self._is_current = False  # whether no other coordinator can have taken the run over since the last look
        self._release: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self._has_news = False
        self._is_closed = False

    async def accept(self, revocations: Sequence[Revocation]) -> list[SubmissionResult]:
        """Accept or refuse requests as if they came one after another. Those that are accepted are committed.

        They are carried out afterwards, beside whatever comes next.

        Raises:
            RaymuError: StorageFailed, JournalBusy or RunInvalid. None of the requests is accepted then, or those that the
                error is marked with.
        """
        try:
            results = await self._accept(revocations)
        except RaymuError as error:
            if unfinished_requests(error) is not None or not await self._is_superseded():
                raise
            results = await self._accept(revocations)
        if any(result.request_id for result in results):
            self.carry_out()
        return results

    async def _is_superseded(self) -> bool:
        """Return whether a process of another machine has the run, to which the turn of this one says nothing."""
        try:
            if self._coordinator is not None:
                await self._coordinator.require_current()
        except (CoordinatorSuperseded, RunInvalid):
            return True
        return False

    async def _accept(self, revocations: Sequence[Revocation]) -> list[SubmissionResult]:
        async with self._called() as coordinator:
            return await coordinator.accept(revocations)

    def carry_out(self) -> None:
        """Begin to carry out what was accepted, unless that is going on."""
        self._has_news = True
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().create_task(self._carry_out())

    async def prepare(self) -> None:
        """Import what carries requests out, which takes seconds, before the first one comes."""
        await asyncio.to_thread(_import_for_good, "raymu.service.shard.worker")

    async def do_due_work(self) -> None:
        """Settle what would be late otherwise, and finish what an earlier failure left. If nothing is due, nothing is opened.

        Raises RaymuError.
        """
        due_by = await asyncio.to_thread(self._due.now)
        if due_by is not None:
            async with self._called() as coordinator:
                await coordinator.settle(no_progress, due_by=due_by)

    async def wait_until_idle(self) -> None:
        """Wait until all that was accepted is carried out, or has failed."""
        while self._work is not None and not self._work.done():
            await asyncio.wait([self._work])

    async def close(self) -> None:
        """End the work after the stage that is being trained, and leave the run."""
        self._is_closed = True
        if self._work is not None and not self._work.done():
            self._work.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._work
        async with self._opening:
            await self._leave()
        if self._release is not None:
            self._release.cancel()
            self._end_turn()

    async def _carry_out(self) -> None:
        while self._has_news:
            self._has_news = False
            try:
                async with self._called() as coordinator:
                    await coordinator.settle(no_progress, due_by=LONG_AGO)
            except Exception as problem:  # the next request, or the next look at what is due, tries again
                logger.warning("accepted requests could not be carried out yet: %s", type(problem).__name__)

    async def _opened(self) -> Coordinator:
        """Return the coordinator. It takes the run over again if another process had it meanwhile."""
        async with self._opening:
            if self._is_closed:
                raise CoordinatorLost("the service is ending")
            if self._coordinator is not None:
                try:
                    if not self._is_current:
                        await self._coordinator.require_current()
                        self._is_current = True
                    return self._coordinator
                except (CoordinatorSuperseded, RunInvalid):
                    await self._leave()
            store = RunStore(self._location, trust=self._trust)
            observers = [EventLog(store.manifest.run_id)]
            fleet = ProgressFleet(await asyncio.to_thread(ThreadFleet, partial(ProcessFleet, store)))
            opened = partial(Coordinator, store, fleet, offload=in_thread, observers=observers, readiness_s=READINESS_S)
            try:
                self._coordinator = await asyncio.to_thread(opened)
            except BaseException:
                await fleet.close()
                raise
            self._is_current = True
            return self._coordinator

    async def _leave(self) -> None:
        coordinator, self._coordinator = self._coordinator, None
        if coordinator is not None:
            with suppress(RaymuError):
                await coordinator.close()  # and its fleet

    @asynccontextmanager
    async def _called(self) -> AsyncIterator[Coordinator]:
        """Have the run's turn, and its coordinator, for the length of the context."""
        if self._release is not None:
            self._release.cancel()
            self._release = None
        elif not self._calls:
            async with self._taking:
                if not self._calls:
                    self._is_current = False
                    await asyncio.to_thread(self._turn.begin_call)
        self._calls += 1
        try:
            yield await self._opened()
        except BaseException:
            self._is_current = False  # it may have been taken over by force
            raise
        finally:
            self._calls -= 1
            if not self._calls:
                self._release = asyncio.get_running_loop().call_later(IDLE_S, self._end_turn)

    def _end_turn(self) -> None:
        self._release = None
        self._turn.end_call()


def _import_for_good(module: str) -> None:
    """Import a module, and spare the collector of garbage all that is there then, which is a long pause otherwise."""
    import_module(module)
    gc.collect()
    gc.freeze()


class _DueWork:
    """What a run has to do by itself, looked up only if its journal has changed or a time has come."""

    def __init__(self, store: RunStore) -> None:
        self._store, self._history = store, FollowedHistory(store)
        self._seen: object = None
        self._window: SettleWindow | None = None

    def now(self) -> datetime | None:
        """Return the time by which requests are due that have to be settled now; None if nothing is to be done."""
        position = self._store.position()
        if position != self._seen:
            if waiting_requests(self._store, followed=self._history):
                return LONG_AGO
            now = status(self._store, followed=self._history)
            group_due_at = now.group.due_at if now.group else None
            self._window, self._seen = next_settle_window(now.deadlines, group_due_at=group_due_at), position
        window = self._window
        if window is None or window.begin_at > datetime.now(UTC):
            return None
        self._seen = None
        return window.due_by
