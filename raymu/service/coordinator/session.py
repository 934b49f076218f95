"""A run that a coordinator has taken over: its store, its journal, and the term under which it writes both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NoReturn, Protocol, TypeVar

from raymu.errors import CoordinatorLost
from raymu.service.coordinator.turns import Turns
from raymu.store.run import RunStore

Value = TypeVar("Value")


class Offload(Protocol):
    """Runs a function that waits for files or the database."""

    def __call__(self, work: Callable[[], Value]) -> Awaitable[Value]: ...


async def inline(work: Callable[[], Value]) -> Value:
    """Run a function at once, for a coordinator whose workers share its thread."""
    return work()


async def in_thread(work: Callable[[], Value]) -> Value:
    """Run a function in a thread, so that the event loop serves other calls meanwhile.

    A thread cannot be interrupted, and what it wrote must be followed up. So a cancellation takes effect at the next
    ordinary `await` of the caller.
    """
    future = asyncio.get_running_loop().run_in_executor(None, work)
    is_cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled and (task := asyncio.current_task()):
        task.cancel()
    return future.result()


class Session:
    """A run that was taken over. Opening one fences off the coordinator before it.

    Writing takes a turn, so that commits happen one at a time and the board handles their events in the same order.
    Reading needs no turn.
    """

    def __init__(self, store: RunStore, *, clock: Callable[[], datetime], offload: Offload = inline) -> None:
        """Take over a run.

        Args:
            store: The run.
            clock: Returns the current time, with a time zone.
            offload: Runs functions that wait for files or the database.

        Raises:
            RunInvalid: The journal is missing, or older than the files.
            StorageFailed: The term cannot be written.
        """
        self.store, self.clock, self.offload = store, clock, offload
        self.journal, self.term = store.take_over()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = Turns()
        self._has_left = False

    @asynccontextmanager
    async def turn(self, *, is_urgent: bool = False) -> AsyncIterator[None]:
        """Wait for the turn to write, and keep it for the length of the context. Turns do not nest.

        Args:
            is_urgent: Come before the turns that others wait for, as somebody waits for the answer.

        Raises CoordinatorLost, or CoordinatorSuperseded, once the session has left the run: a write would open the journal
        again after its file was sealed.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a local client runs each call in a loop of its own
            self._loop, self._turns = loop, Turns()
        async with self._turns.turn(is_urgent=is_urgent):
            if self._has_left:
                await self.raise_left()
            yield

    async def require_current(self) -> None:
        """Raise CoordinatorSuperseded after another takeover, and RunInvalid if the journal holds unknown events.

        The caller has the turn.
        """
        await self.offload(self.journal.require_current)

    async def require_unfenced(self) -> None:
        """Raise CoordinatorSuperseded after another takeover, by the run's files alone."""
        await self.offload(lambda: self.store.files.fence())

    @property
    def is_superseded(self) -> bool:
        """Whether another coordinator has taken the run over. Raises FileMissing, FileCorrupt, FileUnreadable."""
        return self.store.fencing.term() != self.term

    async def leave(self) -> None:
        """Close the journal and seal its file. Raises CoordinatorSuperseded: its successor closes the journal then."""
        if self._has_left:
            return
        async with self.turn():
            self._has_left = True
            await self.offload(lambda: self.store.fencing.release(self.journal, self.term))

    async def raise_left(self) -> NoReturn:
        """Raise CoordinatorSuperseded after another takeover, otherwise CoordinatorLost."""
        await self.require_unfenced()
        raise CoordinatorLost("it has left the run")
