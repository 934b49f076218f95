"""Turns at something that one task has at a time, in the order of coming, except that urgent ones come first.

They come first only so often in a row: without a pause between urgent turns, the others would otherwise wait for ever.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST_IN_A_ROW = 8
"""Urgent turns that pass over somebody who waits otherwise."""


class Turns:
    """A lock of one event loop. A task that waits urgently comes before those that wait otherwise."""

    def __init__(self) -> None:
        self._is_taken = False
        self._in_a_row = 0
        """Urgent turns that were given while somebody waited otherwise, since the last other turn."""
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
        is_others_turn = self._in_a_row >= MOST_IN_A_ROW
        for queue in (self._others, self._urgent) if is_others_turn else (self._urgent, self._others):
            while queue:
                waiting = queue.popleft()
                if not waiting.done():
                    self._in_a_row = self._in_a_row + 1 if queue is self._urgent and self._others else 0
                    waiting.set_result(None)
                    return
        self._is_taken = False
