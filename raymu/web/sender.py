"""The sender of the service: it sends the messages of one receiver again and again, until they are taken or given up."""

import logging
import random
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from raymu.web.outbox import Message, Outbox
from raymu.web.outgoing import Answer, NotSent, post

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 3600.0
"""Pause after the first failed attempt, which doubles with each further one, and the longest."""
_MOST_TOGETHER = 20
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
        """Send a message once. It is removed if it was taken, and sent again later otherwise.

        Returns whether the receiver may take the next one: a refusal may concern this message alone.
        """
        receiver, now = self._receiver, self._clock()
        wait_s, problem, is_refused = None, "", False
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
            is_refused = 400 <= answer.status < 500 and answer.status not in _FOR_ALL
        until = now + pause_s(message.attempts, wait_s)
        if until > message.made_at + receiver.retry_s:
            self._give_up(message, problem)
        else:
            logger.warning("%s did not take a message (%s); it is sent again", receiver.target, problem)
            self._outbox.postpone(message, until)
            self._count(Outcome.FAILED)
        return is_refused

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
