"""Turns at something that one task has at a time, in the order of coming, except that urgent ones come first."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """A lock of one event loop. A task that waits urgently has the next turn, before all that wait otherwise."""

    def __init__(self) -> None:
        self._is_taken = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def turn(self, *, is_urgent: bool = False) -> AsyncIterator[None]:
        """Wait for the turn, and keep it for the length of the context. Turns do not nest."""
        await self._wait(self._urgent if is_urgent else self._others)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, queue: deque[asyncio.Future[None]]) -> None:
        if not self._is_taken:
            self._is_taken = True
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():  # the turn came together with the cancellation
                self._pass_on()
            elif mine in queue:  # else it was passed over
                queue.remove(mine)
            raise

    def _pass_on(self) -> None:
        """Give the turn to the next that waits. It stays taken meanwhile, so that nobody comes in between."""
        for queue in (self._urgent, self._others):
            while queue:
                waiting = queue.popleft()
                if not waiting.done():
                    waiting.set_result(None)
                    return
        self._is_taken = False
