"""Moved here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

from raymu.config import UnlearningConfig
from raymu.core.receipt import Receipt
from raymu.runtime.fleet import RayFleet
from raymu.runtime.metrics import measured_coordinator
from raymu.runtime.ray_internals import as_remote
from raymu.service.coordinator.calls import RebuildReport, SettleReport, TrainingReport
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.shard.messages import Progress, ShardLocations, StageProgress
from raymu.store.run import RunStore

Report = TypeVar("Report")


class CoordinatorService:
    """A coordinator with a fleet of actors. Every method streams progress, and its report last."""

    _fleet: RayFleet
    _coordinator: Coordinator

    async def open(self, location: str) -> int:
        """Take a run over. Not in the constructor, whose errors Ray passes on as text. returns: the workers at hand"""
        store = RunStore(location)
        self._fleet = RayFleet(store)
        self._coordinator = measured_coordinator(store, self._fleet)
        return self._coordinator.workers

    async def warm_up(self) -> None:
        await self._fleet.warm_up()

    async def train(self) -> AsyncIterator[StageProgress | TrainingReport]:
        await self._fleet.warm_up()  # so that the report's seconds are those of training
        async for report in _streamed(self._coordinator.train):
            yield report

    async def revoke(self, asked: list[Revocation]) -> AsyncIterator[StageProgress | list[Receipt]]:
        async for report in _streamed(lambda progress: self._coordinator.revoke(asked, progress)):
            yield report

    async def submit(self, asked: list[Revocation]) -> AsyncIterator[StageProgress | list[SubmissionResult]]:
        async for report in _streamed(lambda progress: self._coordinator.submit(asked, progress)):
            yield report

    async def settle(self, due_by: datetime | None) -> AsyncIterator[StageProgress | SettleReport]:
        async for report in _streamed(lambda progress: self._coordinator.settle(progress, due_by=due_by)):
            yield report

    async def rebuild(self, data: str | None) -> AsyncIterator[StageProgress | RebuildReport]:
        async for report in _streamed(lambda progress: self._coordinator.rebuild(progress, data=data)):
            yield report

    async def configure(self, unlearning: UnlearningConfig) -> None:
        await self._coordinator.configure(unlearning)

    async def places(self) -> ShardLocations:
        return self._fleet.places()

    async def close(self) -> None:
        await self._coordinator.close()


CoordinatorActor: Any = as_remote(CoordinatorService)


async def _streamed(run: Callable[[Progress], Awaitable[Report]]) -> AsyncIterator[StageProgress | Report]:
    """What a call reports while it runs, and then what it returns."""
    queue: asyncio.Queue[StageProgress | None] = asyncio.Queue()
    call = asyncio.ensure_future(run(queue.put_nowait))
    call.add_done_callback(lambda _call: queue.put_nowait(None))
    while (stage := await queue.get()) is not None:
        yield stage
    yield await call
