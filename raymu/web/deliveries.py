"""The deliveries of the service: threads that look for what is to be said, and send it until it is taken."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from raymu.web.outbox import Outbox
from raymu.web.sender import AFTER_TROUBLE_S, Count, Receiver, Sender

LOOK_S = 0.2
"""Seconds between two looks at the journals, of a microsecond each, and at what is to be sent."""
MOST_HOSTS = 32
"""Hosts that are called side by side."""
_CLOSING_S = 30.0
"""How long the calls that are being made may take when the service ends."""

logger = logging.getLogger(__name__)


class Deliveries:
    """The threads: one that reads journals, one that looks for what is due, and one for each host that is being called."""

    def __init__(
        self,
        outbox: Outbox,
        sources: Sequence[Callable[[], None]],
        receivers: Sequence[Receiver],
        *,
        count_for: Callable[[str], Count],
    ) -> None:
        """Prepare them.

        Args:
            outbox: What is to be sent. It is closed in the end.
            sources: Called again and again; each puts what is new into the outbox. They raise nothing.
            receivers: Whom messages are sent to.
            count_for: Returns what counts the attempts of a receiver, by its target.
        """
        self._outbox, self._sources = outbox, sources
        self._senders = [Sender(outbox, receiver, count=count_for(receiver.target)) for receiver in receivers]
        self._ending, self._has_news = threading.Event(), threading.Event()
        self._free = threading.Semaphore(MOST_HOSTS)
        self._threads: list[threading.Thread] = []
        self._calls: set[threading.Thread] = set()

    def begin(self) -> None:
        """Start the threads."""
        for work, wait in ((self._look, self._ending.wait), (self._send, self._wait_for_news)):
            thread = threading.Thread(target=self._repeat, args=(work, wait), daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """End the threads after what they are at. What was not sent is sent after the next start."""
        self._ending.set()
        self._has_news.set()
        until = time.monotonic() + _CLOSING_S
        for threads in (self._threads, self._calls):  # once the first have ended, no further call begins
            for thread in list(threads):
                thread.join(timeout=max(0.0, until - time.monotonic()))
        self._outbox.close()

    def _look(self) -> None:
        for source in self._sources:
            source()
        self._has_news.set()

    def _send(self) -> None:
        self._has_news.clear()
        for sender in self._senders:
            sender.send_due(self._begin_call)

    def _begin_call(self, work: Callable[[], None]) -> bool:
        """Carry work out in a thread, unless as many are at work as may be."""
        if self._ending.is_set() or not self._free.acquire(blocking=False):
            return False
        thread = threading.Thread(target=self._call, args=(work,), daemon=True)
        self._calls.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads: that may pass
            self._calls.discard(thread)
            self._free.release()
            return False
        return True

    def _call(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._free.release()
            self._calls.discard(threading.current_thread())
            self._has_news.set()  # the host, or one that waits for a thread, may have more

    def _wait_for_news(self, seconds: float) -> None:
        self._has_news.wait(seconds)

    def _repeat(self, work: Callable[[], None], wait: Callable[[float], object]) -> None:
        while not self._ending.is_set():
            try:
                work()
            except Exception as problem:  # the file may be full, or locked: that may pass
                logger.warning("deliveries pause: %s", type(problem).__name__)
                self._ending.wait(AFTER_TROUBLE_S)
            else:
                wait(LOOK_S)
