"""A fleet whose one worker is a thread, so that a coordinator accepts requests while a shard is trained."""

import asyncio
import threading
from collections.abc import Callable, Collection

from raymu.service.shard.fleet import ShardFleet
from raymu.service.shard.messages import Progress, ShardLocations, StageProgress, Work, WorkReport


class ThreadFleet:
    """Runs the work of another fleet on an event loop of its own, in a thread: one shard after the other.

    The thread only waits: with a `ProcessFleet`, the work is done in a process of its own.
    """

    def __init__(self, make_fleet: Callable[[], ShardFleet]) -> None:
        """Start the thread, and make the fleet in it."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="raymu-worker", daemon=True)
        self._thread.start()
        self._running: set[int] = set()
        self._fleet = asyncio.run_coroutine_threadsafe(_made(make_fleet), self._loop).result()

    @property
    def workers(self) -> int:
        return self._fleet.workers

    @property
    def running(self) -> Collection[int]:
        return frozenset(self._running)

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        callers = asyncio.get_running_loop()

        def report(stage: StageProgress) -> None:
            callers.call_soon_threadsafe(progress, stage)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._run(work, report), self._loop))

    async def warm_up(self) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._fleet.warm_up(), self._loop))

    async def locations(self) -> ShardLocations:
        return {}

    async def close(self) -> None:
        """End the worker, and its thread."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._fleet.close(), self._loop))
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    async def _run(self, work: Work, progress: Progress) -> WorkReport:
        self._running.add(work.shard)
        try:
            return await self._fleet.run(work, progress)
        finally:
            self._running.discard(work.shard)


async def _made(make_fleet: Callable[[], ShardFleet]) -> ShardFleet:
    return make_fleet()
