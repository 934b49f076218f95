"""The interface of clients of a coordinator, and the client of one in this process, without Ray."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from raymu.core.trust import EVERYTHING, Trust
from raymu.service.coordinator.calls import Call, Result
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.coordinator.process_turn import ProcessTurn
from raymu.service.coordinator.shared_calls import PendingCall, SharedCalls, carry_out_together
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
    """A coordinator in this process, which returns from each call only when nothing is running.

    Any thread may call it: threads take turns, and requests that wait together are carried out together.
    """

    def __init__(self, location: str, first: Sequence[Revocation] = (), *, trust: Trust = EVERYTHING) -> None:
        """Take over the run at a location, unless a request of the first call is refused.

        Another process or thread that is at work on it is waited for.

        Args:
            location: The run.
            first: Requests of the first call.
            trust: The demands of the run that are followed.

        Raises:
            RaymuError: RunInvalid, JournalBusy, or what refuses a request.
        """
        self._location, self._trust = location, trust
        self._calls = SharedCalls()
        self._turn = ProcessTurn(RunStore(location, trust=trust))
        self._turn.take(first)
        try:
            self._open(first)
        except BaseException:
            self._turn.leave()
            raise

    def call(self, call: Call[Result], progress: Progress = no_progress) -> Result:
        """Carry a call out. Progress is reported in this thread. Raises ClientClosed if another thread closed it before."""
        return self._calls.call(call, progress, partial(self._work, progress))

    def close(self) -> None:
        """Leave the run, once calls that other threads have begun are carried out."""
        self._calls.close(self._close)

    def _open(self, first: Sequence[Revocation] = ()) -> None:
        store = RunStore(self._location, trust=self._trust)
        self._fleet = ProgressFleet(LocalFleet(store))
        self._coordinator = Coordinator(store, self._fleet, observers=[EventLog(store.manifest.run_id)], first=first)

    def _work(self, progress: Progress, together: Sequence[PendingCall]) -> None:
        """Carry out calls, of which the first is that of this thread."""
        self._turn.begin_call()
        try:
            if self._coordinator.is_superseded:  # by a process that had its turn while this one was idle
                _run(self._coordinator.close())
                self._open()
            others = [partial(self._calls.report, pending) for pending in together[1:]]
            _run(self._carry_out(together, [progress, *others]))
        finally:
            self._turn.end_call()

    async def _carry_out(self, together: Sequence[PendingCall], progresses: Sequence[Progress]) -> None:
        self._calls.worker = threading.get_ident()  # a thread of its own if the caller's has a running loop
        await carry_out_together(together, self._coordinator.call, progresses)

    def _close(self) -> None:
        try:
            _run(self._coordinator.close())
            _run(self._fleet.close())
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
