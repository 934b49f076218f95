"""The coordinator as a Ray actor."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from raymu.core.trust import EVERYTHING, Trust
from raymu.core.verdict import Verdict
from raymu.runtime.fleet import RayFleet
from raymu.runtime.metrics import RunMetrics, measured_coordinator
from raymu.runtime.ray_internals import as_remote
from raymu.service.coordinator.calls import Call
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import StageProgress
from raymu.store.run import RunStore


class CoordinatorService:
    """A coordinator with a fleet of actors."""

    _coordinator: Coordinator
    _metrics: RunMetrics

    async def open(self, location: str, first: Sequence[Revocation] = (), trust: Trust = EVERYTHING) -> int:
        """Take a run over. This is not the constructor, because Ray passes on a constructor's errors as text.

        Args:
            location: The run.
            first: Requests of the first call. The run is not taken over if one of them is refused.
            trust: The demands of the run that this coordinator and its workers follow.

        Returns:
            The number of workers.
        """
        store = RunStore(location, trust=trust)
        self._coordinator, self._metrics = measured_coordinator(store, await asyncio.to_thread(RayFleet, store), first)
        return self._coordinator.workers

    async def call(self, call: Call[Any]) -> AsyncIterator[Any]:
        """Carry a call out. Yields its progress, and its result last."""
        queue: asyncio.Queue[StageProgress | None] = asyncio.Queue()
        result = asyncio.ensure_future(self._coordinator.call(call, queue.put_nowait))
        result.add_done_callback(lambda _result: queue.put_nowait(None))
        while (stage := await queue.get()) is not None:
            yield stage
        yield await result

    async def count_verdict(self, check: str, verdict: Verdict) -> None:
        """Count the verdict of a verification or an audit in the run's metrics. check: one of `CHECKS`"""
        self._metrics.on_verdict(check, verdict)

    async def close(self) -> None:
        await self._coordinator.close()


CoordinatorActor: Any = as_remote(CoordinatorService)
