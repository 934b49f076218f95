"""Whom a run is asked through: a coordinator's interface, and the coordinator in this process, without Ray."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Protocol, TypeVar

from raymu.config import UnlearningConfig
from raymu.core.receipt import Receipt
from raymu.service.coordinator.calls import RebuildReport, SettleReport, TrainingReport
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.event_log import EventLog
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.shard.fleet import LocalFleet, ProgressFleet
from raymu.service.shard.messages import Progress, ShardLocations
from raymu.store.run import RunStore

Report = TypeVar("Report")


class CoordinatorClient(Protocol):
    """What changes a run: in this process, or an actor on a cluster."""

    def train(self, progress: Progress) -> TrainingReport: ...

    def revoke(self, asked: list[Revocation], progress: Progress) -> list[Receipt]: ...

    def submit(self, asked: list[Revocation], progress: Progress) -> list[SubmissionResult]: ...

    def settle(self, progress: Progress, due_by: datetime | None) -> SettleReport: ...

    def rebuild(self, progress: Progress, data: str | None) -> RebuildReport: ...

    def configure(self, unlearning: UnlearningConfig) -> None: ...

    def warm_up(self) -> None: ...

    def places(self) -> ShardLocations: ...

    def close(self) -> None: ...


class LocalClient:
    """Every call runs to its end before it returns."""

    def __init__(self, location: str) -> None:
        """location: of the run. Raises RunInvalid."""
        store = RunStore(location)
        fleet = ProgressFleet(LocalFleet(store))
        self._coordinator = Coordinator(store, fleet, observers=[EventLog(store.manifest.run_id)])

    def warm_up(self) -> None:
        """Nothing to start: the worker is this process."""

    def train(self, progress: Progress) -> TrainingReport:
        return _finished(self._coordinator.train(progress))

    def revoke(self, asked: list[Revocation], progress: Progress) -> list[Receipt]:
        return _finished(self._coordinator.revoke(asked, progress))

    def submit(self, asked: list[Revocation], progress: Progress) -> list[SubmissionResult]:
        return _finished(self._coordinator.submit(asked, progress))

    def settle(self, progress: Progress, due_by: datetime | None) -> SettleReport:
        return _finished(self._coordinator.settle(progress, due_by=due_by))

    def rebuild(self, progress: Progress, data: str | None) -> RebuildReport:
        return _finished(self._coordinator.rebuild(progress, data=data))

    def configure(self, unlearning: UnlearningConfig) -> None:
        _finished(self._coordinator.configure(unlearning))

    def places(self) -> ShardLocations:
        """Nothing: no actor holds anything."""
        return {}

    def close(self) -> None:
        _finished(self._coordinator.close())


def _finished(call: Coroutine[Any, Any, Report]) -> Report:
    """What a call returns. Where a loop runs in this thread, as in a notebook, the call has a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(call)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, call).result()
