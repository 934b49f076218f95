"""The intake of a run: requests that arrive together are committed together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from raymu.service.requests.revocation import Revocation, SubmissionResult

Accept = Callable[[Sequence[Revocation]], Awaitable[list[SubmissionResult]]]
MOST_TOGETHER = 256
"""Requests of one commit. While one is written, the next are collected; nothing waits for company."""


class Intake:
    """Hands requests on in the order of arrival, all those at once that came while earlier ones were committed."""

    def __init__(self, accept: Accept) -> None:
        """Begin empty. accept: Accepts or refuses requests, and commits those that are accepted."""
        self._accept = accept
        self._waiting: deque[tuple[Revocation, asyncio.Future[SubmissionResult]]] = deque()
        self._work: asyncio.Task[None] | None = None

    async def submit(self, revocation: Revocation) -> SubmissionResult:
        """Return the result of a request once it is committed, or refused. Raises what `accept` raises."""
        outcome: asyncio.Future[SubmissionResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((revocation, outcome))
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().create_task(self._hand_on())
        return await outcome

    async def close(self) -> None:
        """Wait until what has arrived is committed."""
        while self._work is not None and not self._work.done():
            await asyncio.wait([self._work])

    async def _hand_on(self) -> None:
        while self._waiting:
            together = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_TOGETHER))]
            try:
                results = await self._accept([revocation for revocation, _ in together])
            except BaseException as error:
                for _, outcome in together:
                    with suppress(asyncio.InvalidStateError):  # its caller has left
                        outcome.set_exception(error if isinstance(error, Exception) else RuntimeError("interrupted"))
                if not isinstance(error, Exception):
                    raise
            else:
                for (_, outcome), result in zip(together, results, strict=True):
                    with suppress(asyncio.InvalidStateError):
                        outcome.set_result(result)
