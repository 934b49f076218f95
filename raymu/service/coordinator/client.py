"""The interface of clients of a coordinator, and the client of one in this process, without Ray."""

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from raymu.core.trust import EVERYTHING, Trust
from raymu.service.coordinator.calls import Call, Result
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.coordinator.process_turn import ProcessTurn
from raymu.service.event_log import EventLog
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet, ProgressFleet
from raymu.service.shard.messages import Progress, no_progress
from raymu.store.run import RunStore


class CoordinatorClient(Protocol):
    """Sends calls to a coordinator, in this process or in an actor on a cluster."""

    def call(self, call: Call[Result], progress: Progress = no_progress) -> Result:
        """Carry a call out, and wait for its result. Raises the coordinator's errors."""
        ...

    def close(self) -> None: ...


class LocalClient:
    """A coordinator in this process, which returns from each call only when nothing is running."""

    def __init__(self, location: str, first: Sequence[Revocation] = (), *, trust: Trust = EVERYTHING) -> None:
        """Take over the run at a location, unless a request of the first call is refused.

        Another process that is at work on it is waited for.

        Args:
            location: The run.
            first: Requests of the first call.
            trust: The demands of the run that are followed.

        Raises:
            RaymuError: RunInvalid, JournalBusy, or what refuses a request.
        """
        store = RunStore(location, trust=trust)
        fleet = ProgressFleet(LocalFleet(store))
        self._turn = ProcessTurn(store)
        self._turn.take(first)
        try:
            self._coordinator = Coordinator(store, fleet, observers=[EventLog(store.manifest.run_id)], first=first)
        except BaseException:
            self._turn.leave()
            raise

    def call(self, call: Call[Result], progress: Progress = no_progress) -> Result:
        self._turn.take()
        try:
            return _run(self._coordinator.call(call, progress))
        finally:
            self._turn.leave()

    def close(self) -> None:
        try:
            _run(self._coordinator.close())
        finally:
            self._turn.leave()


def _run(call: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end, in a thread of its own if this thread has a running loop, as a notebook's does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(call)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, call).result()
