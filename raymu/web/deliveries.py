"""The deliveries of the service: threads that look for what is to be said, and send it until it is taken."""

import logging
import threading
from collections.abc import Callable, Sequence

from raymu.web.outbox import Outbox
from raymu.web.sender import Count, Receiver, Sender

LOOK_S = 0.5
"""Seconds between two looks at the journals, of a microsecond each, and at what is to be sent."""
_AFTER_FAILURE_S = 60.0
"""Seconds until work that failed is tried again."""

logger = logging.getLogger(__name__)


class Deliveries:
    """The threads: one that reads journals, and one for each receiver, so that a slow one delays no other."""

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
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self) -> None:
        """Start the threads."""
        works = [self._look, *(sender.send_due for sender in self._senders)]
        for work in works:
            thread = threading.Thread(target=self._repeat, args=(work,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """End the threads after what they are at. What was not sent is sent after the next start."""
        self._ending.set()
        for thread in self._threads:
            thread.join(timeout=30)
        self._outbox.close()

    def _look(self) -> bool:
        for source in self._sources:
            source()
        return False

    def _repeat(self, work: Callable[[], bool]) -> None:
        while not self._ending.is_set():
            try:
                has_more = work()
            except Exception as problem:  # the file may be full, or locked: that may pass
                logger.warning("deliveries pause: %s", type(problem).__name__)
                self._ending.wait(_AFTER_FAILURE_S)
                continue
            if not has_more:
                self._ending.wait(LOOK_S)
