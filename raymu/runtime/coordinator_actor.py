"""The coordinator as a Ray actor."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from raymu.core.trust import EVERYTHING, Trust
from raymu.core.verdict import LastVerdict
from raymu.errors import CoordinatorLost
from raymu.runtime.fleet import RayFleet
from raymu.runtime.messages import Failure, MessageCipher
from raymu.runtime.ray_internals import as_remote
from raymu.service.coordinator.calls import Call
from raymu.service.event_log import log_event
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import RoomWait, StageProgress
from raymu.store.run import RunStore

if TYPE_CHECKING:
    from raymu.runtime.metrics import RunMetrics
    from raymu.service.coordinator.coordinator import Coordinator


class CoordinatorService:
    """A coordinator with a fleet of actors. Whoever it exchanges messages with has the key of the run."""

    _coordinator: "Coordinator | None" = None
    _cipher: MessageCipher
    _run_id: str
    _metrics: "RunMetrics"

    def __init__(self) -> None:
        self._listeners: list[asyncio.Queue[StageProgress | RoomWait | None]] = []

    async def open(self, location: str, first: bytes, trust: Trust = EVERYTHING) -> bytes:
        """Take a run over. This is not the constructor, because Ray passes on a constructor's errors as text.

        Args:
            location: The run.
            first: The requests of the first call, encrypted. The run is not taken over if one of them is refused.
            trust: The demands of the run that this coordinator and its workers follow.

        Returns:
            The number of workers, or a `Failure`, encrypted.

        Raises:
            RaymuError: The key of the run cannot be read.
        """
        store = RunStore(location, trust=trust)
        self._cipher = MessageCipher(store)
        try:
            return self._cipher.encrypt(await self._open(location, self._cipher.decrypt(first), trust))
        except Exception as error:
            return self._cipher.encrypt(Failure(error))

    async def call(self, message: bytes) -> AsyncIterator[bytes]:
        """Carry a call out. Yields its progress, and its result or a `Failure` last, all encrypted."""
        try:
            async for item in self._carry_out(self._cipher.decrypt(message)):
                yield self._cipher.encrypt(item)
        except Exception as error:
            yield self._cipher.encrypt(Failure(error))

    async def count_verdict(self, verdict: LastVerdict) -> None:
        """Count the verdict of a verification or an audit in the run's metrics, and show it there."""
        self._metrics.on_verdict(verdict)

    async def close(self) -> None:
        if self._coordinator is not None:
            await self._coordinator.close()

    async def _open(self, location: str, first: Sequence[Revocation], trust: Trust) -> int:
        if self._coordinator is not None:
            await self._coordinator.close()  # it was superseded
        store = RunStore(location, trust=trust)
        self._cipher, self._run_id = MessageCipher(store), store.manifest.run_id
        fleet = await asyncio.to_thread(partial(RayFleet, store, on_wait=self._tell_of_waiting))
        if first:
            fleet.expect_work()
        await asyncio.to_thread(
            import_module, "raymu.runtime.metrics"
        )  # a coordinator's modules, while an actor starts
        from raymu.runtime.metrics import measured_coordinator

        self._coordinator, self._metrics = measured_coordinator(store, fleet, first)
        return self._coordinator.workers

    async def _carry_out(self, call: Call[Any]) -> AsyncIterator[Any]:
        """Yield the progress of a call, and its result last."""
        if self._coordinator is None:
            raise CoordinatorLost("Ray has started it anew")  # between a client's opening of the run and its call
        queue: asyncio.Queue[StageProgress | RoomWait | None] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            result = asyncio.ensure_future(self._coordinator.call(call, queue.put_nowait))
            result.add_done_callback(lambda _result: queue.put_nowait(None))
            while (item := await queue.get()) is not None:
                yield item
        finally:
            self._listeners.remove(queue)
        yield await result

    def _tell_of_waiting(self, wait: RoomWait) -> None:
        """Tell everyone who waits for a call that the cluster has no room for a worker."""
        since = wait.since.isoformat(timespec="seconds")
        log_event("waiting_for_room", run=self._run_id, since=since, room=wait.room)
        for queue in self._listeners:
            queue.put_nowait(wait)


CoordinatorActor: Any = as_remote(CoordinatorService)
