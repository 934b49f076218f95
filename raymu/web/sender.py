"""The sender of the service: it sends messages again and again, until they are taken or given up.

Each host is by itself. After a failure it is left alone for a time, which doubles with each further failure in a row: one
attempt fails for all that waits for it. Afterwards the messages that were sent least often come first, so that one at which a
receiver fails each time holds up no other.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from threading import Lock
from typing import Protocol

from raymu.web.outbox import Message, Outbox
from raymu.web.outgoing import Answer, Conversation, NotSent

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 3600.0
"""Pause after the first failed attempt, which doubles with each further one, and the longest."""
AFTER_TROUBLE_S = 60.0
"""Pause after the outbox could not be read or written."""
_MOST_TOGETHER = 20
"""Messages of a host until other hosts have their turn."""
_MOST_FAILING = 10_000
"""Hosts whose failures are remembered."""
_GONE = 410
_FOR_ALL = (408, 425, 429)
"""Refusals that concern whatever is sent now: too late, too early, too much."""

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
Begin = Callable[[Callable[[], None]], bool]


def uncounted(_outcome: Outcome) -> None:
    """Count nothing."""


def at_once(work: Callable[[], None]) -> bool:
    """Carry work out now."""
    work()
    return True


class Sender:
    """Sends the messages of one webhook or protocol: to each host by itself, so that none of them delays another."""

    def __init__(
        self,
        outbox: Outbox,
        receiver: Receiver,
        *,
        send: Send | None = None,
        clock: Callable[[], float] = time.time,
        count: Count = uncounted,
    ) -> None:
        """Name the receiver.

        Args:
            outbox: What is to be sent.
            receiver: Whom.
            send: Sends one POST, as `post` does; None keeps a connection while a host is sent several.
            clock: Returns the seconds since 1970.
            count: Called after each attempt.
        """
        self._outbox, self._receiver, self._clock, self._count = outbox, receiver, clock, count
        self._send_alone = send
        self._guard = Lock()
        self._at_work: set[str] = set()
        self._failing: dict[str, _Failing] = {}

    def send_due(self, begin: Begin = at_once) -> None:
        """Begin to send what is due to each host, except to those that are at work, or paused after a failure.

        Args:
            begin: Carries out what it is given, now or in a thread. It returns whether it does: nothing is begun otherwise.
        """
        now = self._clock()
        for host in self._outbox.hosts_due(self._receiver.target, now):
            with self._guard:
                failing = self._failing.get(host)
                if host in self._at_work or (failing is not None and failing.until > now):
                    continue
                self._at_work.add(host)
            if not begin(partial(self._work_for, host)):
                self._leave(host)

    def _work_for(self, host: str) -> None:
        try:
            self._send_to(host)
        except Exception as problem:  # the outbox may be full, or locked: that may pass
            logger.warning("deliveries pause: %s", type(problem).__name__)
            self._fail(host, self._clock() + AFTER_TROUBLE_S)
        finally:
            self._leave(host)

    def _leave(self, host: str) -> None:
        with self._guard:
            self._at_work.discard(host)

    def _send_to(self, host: str) -> None:
        """Send some of what is due to a host, until it does not take something for a reason that concerns all of it."""
        with closing(Conversation()) as conversation:
            self._send_all(host, self._send_alone or conversation.post)

    def _send_all(self, host: str, send: Send) -> None:
        for message in self._outbox.due(self._receiver.target, self._clock(), host=host, most=_MOST_TOGETHER):
            pause = self._attempt(message, send)
            if pause is None:
                with self._guard:
                    self._failing.pop(host, None)
            elif pause.is_for_all:
                now = self._clock()
                until = now + pause_s(self._failures(host), pause.asked_s)
                self._fail(host, until)
                self._give_up_older(host, until, pause.problem)
                return

    def _failures(self, host: str) -> int:
        with self._guard:
            failing = self._failing.get(host)
        return 0 if failing is None else failing.failures

    def _fail(self, host: str, until: float) -> None:
        failures = self._failures(host) + 1
        with self._guard:
            self._failing[host] = _Failing(failures=failures, until=until)
            if len(self._failing) > _MOST_FAILING:
                del self._failing[next(iter(self._failing))]

    def _attempt(self, message: Message, send: Send) -> "_Pause | None":
        """Send a message once. It is removed if it was taken, and sent again later otherwise.

        Returns why it was not taken; None if it was, or if it is given up alone.
        """
        receiver, now = self._receiver, self._clock()
        try:
            answer = send(
                receiver.url(message),
                message.body.encode(),
                receiver.headers(message, now),
                is_private_allowed=receiver.is_private_allowed,
            )
        except NotSent as error:
            pause = _Pause(problem=str(error))
        else:
            if answer.is_taken:
                self._outbox.remove(message)
                self._count(Outcome.TAKEN)
                return None
            problem = f"it answers {answer.status}"
            if answer.status == _GONE:
                self._give_up(message, problem)
                return None
            is_own = 400 <= answer.status < 500 and answer.status not in _FOR_ALL
            pause = _Pause(problem=problem, asked_s=answer.retry_after_s, is_for_all=not is_own)
        until = now + pause_s(message.attempts, pause.asked_s)
        if until > message.made_at + receiver.retry_s:
            self._give_up(message, pause.problem)
        else:
            logger.warning("%s did not take a message (%s); it is sent again", receiver.target, pause.problem)
            self._outbox.postpone(message, until)
            self._count(Outcome.FAILED)
        return pause

    def _give_up_older(self, host: str, until: float, problem: str) -> None:
        """Give up the messages whose time ends before the host is called again."""
        made_before = until - self._receiver.retry_s
        for message in self._outbox.older(self._receiver.target, made_before, host=host):
            self._give_up(message, problem)

    def _give_up(self, message: Message, problem: str) -> None:
        logger.error(
            "%s did not take message %s in time, and is not sent it again: %s", message.target, message.id, problem
        )
        self._outbox.remove(message)
        self._count(Outcome.GIVEN_UP)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pause:
    """Why a message was not taken."""

    problem: str
    asked_s: float | None = None
    """How long the receiver asks to wait; None if it does not."""
    is_for_all: bool = True
    """Whether the reason concerns whatever is sent to the host now, and not this message alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Failing:
    """A host that takes nothing now."""

    failures: int
    """Failed attempts in a row."""
    until: float
    """When it is called again, in seconds since 1970."""


def pause_s(attempts: int, asked_s: float | None = None) -> float:
    """Return the pause after a failed attempt: it doubles, and is drawn from its upper half, so that nobody comes in step.

    Args:
        attempts: How often the message was sent, or the host was called, in vain before this attempt.
        asked_s: How long the receiver asks to wait.
    """
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempts, 20))
    return max(random.uniform(longest / 2, longest), min(asked_s or 0.0, LONGEST_PAUSE_S))
