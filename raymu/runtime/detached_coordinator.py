"""The detached coordinator of a run: a named actor that outlives the job that started it."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import ray

from raymu.core.deadlines import SettleWindow, next_settle_window
from raymu.core.trust import EVERYTHING, NOTHING, Trust
from raymu.core.uri import redacted
from raymu.errors import CoordinatorSuperseded, RunInvalid
from raymu.runtime.coordinator_actor import CoordinatorService
from raymu.runtime.nodes import this_node
from raymu.runtime.ray_internals import as_remote
from raymu.service.coordinator.calls import Call, Configure, Locations
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import no_progress
from raymu.service.status import status
from raymu.store.journal.fencing import journal_url
from raymu.store.presence import Presence
from raymu.store.run import RunStore

NAMESPACE = "raymu"
EVERY_S = 10.0
"""Seconds between two checks for interrupted or due work."""
_AFTER_FAILURE_S = 60.0
"""Seconds between two checks after one that failed."""
_SUPERSEDED_FACTOR = 6
"""Factor on the time between checks while another coordinator has the run, because each check reads the journal then."""
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
"""A time by which nothing is due, so that settling only finishes interrupted work."""

logger = logging.getLogger(__name__)


class DetachedCoordinator(CoordinatorService):
    """A coordinator for any number of clients. If its process is lost, Ray starts a new one with a new constructor call.

    On its own it finishes interrupted work, and settles what would otherwise be late. After another coordinator has taken
    the run over, it leaves the run until a client opens it again or something is due.
    """

    def __init__(self, location: str, *, every_s: float, trust: Trust = EVERYTHING) -> None:
        super().__init__()
        self._location, self._every_s, self._trust = location, every_s, trust
        self._is_open, self._is_superseded, self._lock = False, False, asyncio.Lock()
        self._presence = RunStore(location, trust=trust).presence
        self._place = Presence.of_this_process(is_detached=True, address=ray.get_runtime_context().gcs_address)
        self._loop = asyncio.ensure_future(self._run_loop())

    async def close(self) -> None:
        self._loop.cancel()
        if self._is_open:
            await self._leave()

    async def _open(self, location: str, first: Sequence[Revocation], trust: Trust) -> int:  # noqa: ARG002
        """Take the run over, unless this coordinator still has it. Clients call this first.

        The trust is that of the user who started this coordinator, not that of its clients.

        Raises:
            RunInvalid: The client means another directory, such as a copy of the run, which has the same id.
        """
        if not _is_same_location(location, self._location):
            raise RunInvalid(
                location,
                f"its coordinator was started from another directory, {self._location}; name that one, or `raymu stop` it",
            )
        async with self._lock:
            if self._is_open and self._coordinator is not None:
                try:
                    await self._coordinator.require_current()
                    return self._coordinator.workers
                except (CoordinatorSuperseded, RunInvalid):
                    await self._leave()
            return await self._take_over(first)

    async def _carry_out(self, call: Call[Any]) -> AsyncIterator[Any]:
        match call:
            case Locations() if not self._is_open:
                yield {}
            case Configure():
                async with self._lock:
                    async for item in super()._carry_out(call):
                        yield item
                    await self._leave()
                    await self._take_over()
            case _:
                async for item in super()._carry_out(call):
                    yield item

    async def _take_over(self, first: Sequence[Revocation] = ()) -> int:
        workers = await super()._open(self._location, first, self._trust)
        self._is_open, self._is_superseded = True, False
        await asyncio.to_thread(self._presence.announce, self._place)
        return workers

    async def _leave(self) -> None:
        self._is_open = False
        await super().close()
        await asyncio.to_thread(self._presence.withdraw)

    async def _run_loop(self) -> None:
        is_caught_up = False
        while True:
            try:
                await self._do_due_work(is_caught_up=is_caught_up)
                is_caught_up = True
            except Exception as problem:  # it may pass, and the next client gets the error
                logger.warning("due work failed: %s", type(problem).__name__)  # its text may hold a path
                is_caught_up = False
            pause_s = self._every_s * (_SUPERSEDED_FACTOR if self._is_superseded else 1)
            await asyncio.sleep(pause_s if is_caught_up else max(pause_s, _AFTER_FAILURE_S))

    async def _do_due_work(self, *, is_caught_up: bool) -> None:
        await self._check_superseded()
        if self._is_superseded:
            now = await asyncio.to_thread(status, RunStore(self._location, trust=self._trust))
            group_due_at = now.group.due_at if now.group else None
            if not _has_begun(next_settle_window(now.deadlines, group_due_at=group_due_at)):
                return
        if not self._is_open:
            await self._open(self._location, (), self._trust)
        coordinator = self._coordinator
        assert coordinator is not None, "it was opened just now"
        if not is_caught_up or coordinator.is_interrupted:
            await coordinator.settle(no_progress, due_by=_LONG_AGO)
        settlement = next_settle_window(coordinator.deadlines(), group_due_at=coordinator.group_due_at)
        if settlement and _has_begun(settlement):
            await coordinator.settle(no_progress, due_by=settlement.due_by)

    async def _check_superseded(self) -> None:
        async with self._lock:
            if not self._is_open or self._coordinator is None:
                return
            try:
                await self._coordinator.require_current()
            except CoordinatorSuperseded:
                self._is_superseded = True
                await self._leave()
            except RunInvalid:  # its records no longer match the journal: the next `open` reads it again
                await self._leave()


DetachedCoordinatorActor: Any = as_remote(DetachedCoordinator)


def coordinator_name(location: str) -> str:
    """Return the actor's name. It contains the run's id, because paths differ between nodes. Raises RunInvalid."""
    return f"coordinator-{RunStore(location, trust=NOTHING).manifest.run_id}"


def find_detached(name: str) -> Any | None:
    """Return a detached coordinator of the joined cluster; None if it is not running."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None


def start_detached(name: str, location: str, trust: Trust) -> tuple[Any, bool]:
    """Start a detached coordinator, and return it and whether this call started it: another may be running."""
    store = RunStore(location, trust=trust)
    # A journal in SQLite is on this machine's disk, so the coordinator has to start and restart here.
    is_bound = journal_url(store.files, store.config).get_backend_name() == "sqlite"
    options = DetachedCoordinatorActor.options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        num_cpus=0,
        max_restarts=-1,
        scheduling_strategy=this_node(is_preferred=not is_bound),
    )
    try:
        return options.remote(location, every_s=EVERY_S, trust=trust), True
    except ValueError:  # its name is taken
        return ray.get_actor(name, namespace=NAMESPACE), False


def _is_same_location(location: str, other: str) -> bool:
    """Return whether two paths or URIs are the same here, apart from the options and the login of a URI."""
    if redacted(location).rstrip("/") == redacted(other).rstrip("/"):
        return True
    with suppress(OSError):
        return os.path.samefile(location, other)
    return False


def _has_begun(settlement: SettleWindow | None) -> bool:
    return settlement is not None and settlement.begin_at <= datetime.now(UTC)
