"""Calls of several threads on one coordinator in this process: one thread at a time carries out what waits."""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from raymu.errors import CoordinatorLost, RaymuError, RequestInvalid, mark_unfinished, unfinished_requests
from raymu.service.coordinator.calls import Call, Result, Revoke, Submit
from raymu.service.shard.messages import Progress, StageProgress

_IN_A_CALL = "progress is reported in the middle of a call; use or close the run when that has ended"

CarryOut: TypeAlias = Callable[[Call[Any], Progress], Awaitable[Any]]


class ClientClosed(RaymuError):
    """Another thread closed the client before it began a call. Nothing was done."""


@dataclass(eq=False, kw_only=True, slots=True)
class PendingCall:
    """A call of one thread, from its arrival to its outcome."""

    call: Call[Any]
    is_done: bool = False
    result: Any = None
    error: BaseException | None = None
    stages: deque[StageProgress] = field(default_factory=deque)
    """Progress that the thread has still to report."""


class SharedCalls:
    """Hands calls to the threads that make them, in the order of arrival.

    Requests that wait together are carried out together: they share rewinding, repairs and publication. Each thread gets
    the progress of its own call, and reports it itself.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[PendingCall] = deque()
        self.worker: int | None = None
        """The thread that carries calls out; None while none does."""
        self._is_closed = False

    def call(self, call: Call[Result], progress: Progress, work: Callable[[Sequence[PendingCall]], None]) -> Result:
        """Wait for earlier calls, and carry this one out, or have another thread do so.

        Args:
            call: The call.
            progress: Called in this thread.
            work: Carries calls out in this thread, and gives each its outcome.

        Raises:
            ClientClosed: Another thread closed the client first.
            RequestInvalid: The thread is carrying out a call: progress is reported in the middle of one.
            RaymuError: The error of the call.
        """
        pending = PendingCall(call=call)
        self._require_outside()
        with self._changed:
            self._require_open()
            self._waiting.append(pending)
        try:
            while not self._is_over(pending, progress):
                self._carry_out(pending, work)
        finally:
            with self._changed:
                if pending in self._waiting:  # this thread was interrupted, or the client closed
                    self._waiting.remove(pending)
                    self._changed.notify_all()
        if pending.error is not None:
            raise pending.error
        return cast(Result, pending.result)

    def report(self, pending: PendingCall, stage: StageProgress) -> None:
        """Pass progress on to the thread that made a call."""
        with self._changed:
            pending.stages.append(stage)
            self._changed.notify_all()

    def close(self, work: Callable[[], None]) -> None:
        """Let the running calls end, refuse the others, and do the work of closing. Only the first call does it."""
        self._require_outside()
        with self._changed:
            self._changed.wait_for(lambda: self.worker is None)
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
        work()

    def _is_over(self, pending: PendingCall, progress: Progress) -> bool:
        """Report progress until the call has its outcome, or until it is this thread's turn to carry it out."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: pending.stages or pending.is_done or self._is_next(pending))
                stage = pending.stages.popleft() if pending.stages else None
                if stage is None:
                    if not pending.is_done:
                        self._require_open()
                    return pending.is_done
            progress(stage)

    def _is_next(self, pending: PendingCall) -> bool:
        is_first = bool(self._waiting) and self._waiting[0] is pending
        return self._is_closed or (self.worker is None and is_first)

    def _carry_out(self, own: PendingCall, work: Callable[[Sequence[PendingCall]], None]) -> None:
        with self._changed:
            if self.worker is not None or self._is_closed:
                return
            together = self._take(own)
            self.worker = threading.get_ident()
        try:
            work(together)
        finally:
            with self._changed:
                for pending in together:
                    if not pending.is_done:
                        pending.is_done, pending.error = True, CoordinatorLost("its thread was interrupted")
                self.worker = None
                self._changed.notify_all()

    def _take(self, own: PendingCall) -> list[PendingCall]:
        """Return the calls that are carried out now: one, or all requests that wait."""
        is_request = isinstance(own.call, Revoke | Submit)
        taken = [own] + [
            pending
            for pending in self._waiting
            if is_request and pending is not own and isinstance(pending.call, Revoke | Submit)
        ]
        for pending in taken:
            self._waiting.remove(pending)
        return taken

    def _require_open(self) -> None:
        if self._is_closed:
            raise ClientClosed("the run was closed by another thread")

    def _require_outside(self) -> None:
        if self.worker == threading.get_ident():
            raise RequestInvalid(_IN_A_CALL)


class OpenCalls:
    """The calls of a client that carries several out at once, so that it closes when they have ended."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._threads: list[int] = []
        """The thread of each call."""
        self._is_closed = False

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Enclose one call of this thread. Raises ClientClosed if the client was closed before."""
        own = threading.get_ident()
        with self._changed:
            if self._is_closed:
                raise ClientClosed("the run was closed by another thread")
            self._threads.append(own)
        try:
            yield
        finally:
            with self._changed:
                self._threads.remove(own)
                self._changed.notify_all()

    def close(self) -> bool:
        """Wait for the calls of other threads, and refuse later ones.

        Returns:
            Whether this is the first time.

        Raises:
            RequestInvalid: This thread is in the middle of a call.
        """
        with self._changed:
            if threading.get_ident() in self._threads:
                raise RequestInvalid(_IN_A_CALL)
            self._changed.wait_for(lambda: not self._threads)
            is_first, self._is_closed = not self._is_closed, True
        return is_first


async def carry_out_together(
    together: Sequence[PendingCall], carry_out: CarryOut, progresses: Sequence[Progress]
) -> None:
    """Carry out calls side by side on one event loop, and give each its outcome. The first is that of this thread.

    If this thread is interrupted, the others get CoordinatorLost, marked with the requests that stay accepted.
    """
    tasks = [
        asyncio.ensure_future(carry_out(pending.call, progress))
        for pending, progress in zip(together, progresses, strict=True)
    ]
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError as interruption:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        _mark_like(interruption, await _error_of(tasks[0]))
        raise
    finally:
        for pending, task in zip(together, tasks, strict=True):
            if task.done():
                error = await _error_of(task)
                if isinstance(error, asyncio.CancelledError):
                    pending.error = CoordinatorLost("the thread that carried it out was interrupted")
                    _mark_like(pending.error, error)
                else:
                    pending.error = error
                pending.result = None if error else task.result()
                pending.is_done = True


async def _error_of(task: "asyncio.Future[Any]") -> BaseException | None:
    """Return the error of a task that is done. Asking a cancelled one for it raises a new one, without its mark."""
    try:
        await task
    except BaseException as error:
        return error
    return None


def _mark_like(error: BaseException, other: BaseException | None) -> None:
    """Mark an error as unfinished if another is."""
    if (request_ids := unfinished_requests(other)) is not None:
        mark_unfinished(error, request_ids)
