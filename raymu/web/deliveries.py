"""The deliveries of the service: threads that read journals for what is to be said, and send it until it is taken."""

import logging
import random
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from raymu.errors import RaymuError
from raymu.service.served import watch_of
from raymu.store.run import RunStore
from raymu.web.notices import News, NoticeReader
from raymu.web.outbox import Message, Outbox
from raymu.web.outgoing import Answer, NotSent, post
from raymu.web.webhooks import Webhook

LOOK_S = 0.5
"""Seconds between two looks at the journals, of a microsecond each, and at what is to be sent."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 3600.0
"""Pause after the first failed attempt, which doubles with each further one, and the longest."""
_MOST_TOGETHER = 20
_AFTER_FAILURE_S = 60.0
"""Seconds until a journal that could not be read is read again."""
_GONE = 410

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of an attempt to send a message."""

    TAKEN = "taken"
    FAILED = "failed"
    """The message is sent again later."""
    GIVEN_UP = "given_up"
    """The message is lost to its receiver."""


class Receiver(Protocol):
    """Whoever messages are sent to."""

    @property
    def target(self) -> str:
        """What its messages are called in the outbox."""

    @property
    def is_private_allowed(self) -> bool:
        """Whether it may be in a private network."""

    @property
    def retry_s(self) -> float:
        """How long a message is sent again."""

    def url(self, message: Message) -> str:
        """Return where a message goes."""

    def headers(self, message: Message, now: float) -> Mapping[str, str]:
        """Return the headers of one attempt. now: seconds since 1970"""


Send = Callable[..., Answer]
Count = Callable[[Outcome], None]


def uncounted(_outcome: Outcome) -> None:
    """Count nothing."""


class Sender:
    """Sends the messages of one receiver."""

    def __init__(
        self,
        outbox: Outbox,
        receiver: Receiver,
        *,
        send: Send = post,
        clock: Callable[[], float] = time.time,
        count: Count = uncounted,
    ) -> None:
        """Name the receiver.

        Args:
            outbox: What is to be sent.
            receiver: Whom.
            send: Sends one POST, as `post` does.
            clock: Returns the seconds since 1970.
            count: Called after each attempt.
        """
        self._outbox, self._receiver, self._send, self._clock, self._count = outbox, receiver, send, clock, count

    def send_due(self) -> bool:
        """Send what is due, until the receiver does not take something. Returns whether more may be due."""
        messages = self._outbox.due(self._receiver.target, self._clock(), most=_MOST_TOGETHER)
        return all(map(self._attempt, messages)) and len(messages) == _MOST_TOGETHER

    def _attempt(self, message: Message) -> bool:
        """Send a message once. It is removed if it was taken, and sent again later otherwise. Returns whether it was."""
        receiver, now = self._receiver, self._clock()
        wait_s, problem = None, ""
        try:
            answer = self._send(
                receiver.url(message),
                message.body.encode(),
                receiver.headers(message, now),
                is_private_allowed=receiver.is_private_allowed,
            )
        except NotSent as error:
            problem = str(error)
        else:
            if answer.is_taken:
                self._outbox.remove(message)
                self._count(Outcome.TAKEN)
                return True
            wait_s, problem = answer.retry_after_s, f"it answers {answer.status}"
            if answer.status == _GONE:
                self._give_up(message, problem)
                return False
        until = now + pause_s(message.attempts, wait_s)
        if until > message.made_at + receiver.retry_s:
            self._give_up(message, problem)
        else:
            logger.warning("%s did not take a message (%s); it is sent again", receiver.target, problem)
            self._outbox.postpone(message, until)
            self._count(Outcome.FAILED)
        return False

    def _give_up(self, message: Message, problem: str) -> None:
        logger.error(
            "%s did not take message %s in time, and is not sent it again: %s", message.target, message.id, problem
        )
        self._outbox.remove(message)
        self._count(Outcome.GIVEN_UP)


def pause_s(attempts: int, asked_s: float | None = None) -> float:
    """Return the pause after a failed attempt: it doubles, and is drawn from its upper half, so that nobody comes in step.

    Args:
        attempts: How often the message was sent before this attempt.
        asked_s: How long the receiver asks to wait.
    """
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempts, 20))
    return max(random.uniform(longest / 2, longest), min(asked_s or 0.0, LONGEST_PAUSE_S))


class JournalNotices:
    """Puts what the journal of one run says into the outbox, for the webhooks that want it."""

    def __init__(self, store: RunStore, name: str, outbox: Outbox, webhooks: Sequence[Webhook]) -> None:
        """Begin where the outbox ends; with a run that it does not know, at the present.

        Raises:
            RaymuError: The journal cannot be read.
        """
        self._store, self._name, self._outbox, self._webhooks = store, name, outbox, webhooks
        self._run_id = store.manifest.run_id
        self._reader, self._watch = NoticeReader(store), watch_of(store)
        self._mark: Hashable | None = None
        self._next_due_at: datetime | None = None
        self._pause_until = 0.0
        self.look()

    def look(self) -> None:
        """Read what is new, if anything is. Raises what reading a journal raises."""
        mark, now = self._watch.mark(), datetime.now(UTC)
        is_due = self._next_due_at is not None and now > self._next_due_at
        if mark is not None and mark == self._mark and not is_due:
            return
        cursor, said = self._outbox.cursor(self._run_id), self._outbox.overdue(self._run_id)
        news = self._reader.read(cursor, said_overdue=said, now=now)
        if news.notices or news.cursor != cursor or news.overdue != said:
            self._outbox.advance(self._run_id, news.cursor, self._messages(news), overdue=news.overdue)
        self._mark, self._next_due_at = mark, news.next_due_at

    def look_patiently(self) -> None:
        """Look, and say on the log what fails. It is tried again a minute later."""
        if time.monotonic() < self._pause_until:
            return
        try:
            self.look()
        except RaymuError as problem:
            logger.warning("a journal could not be read for webhooks: %s", type(problem).__name__)
            self._pause_until = time.monotonic() + _AFTER_FAILURE_S

    def close(self) -> None:
        self._watch.close()

    def _messages(self, news: News) -> list[Message]:
        now = time.time()
        return [
            Message(
                id=notice.id(self._run_id),
                target=webhook.target,
                url=webhook.config.url,
                body=notice.body(self._run_id, self._name),
                made_at=now,
            )
            for notice in news.notices
            for webhook in self._webhooks
            if notice.kind in webhook.config.events
        ]


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
