"""The journal of one run as a source of messages: what is new in it gets into the outbox, for the webhooks that want it."""

import logging
import time
from collections.abc import Hashable, Sequence
from datetime import UTC, datetime

from raymu.errors import RaymuError
from raymu.service.served import watch_of
from raymu.store.run import RunStore
from raymu.web.notices import News, NoticeReader
from raymu.web.outbox import Message, Outbox
from raymu.web.webhooks import Webhook

_AFTER_FAILURE_S = 60.0
"""Seconds until a journal that could not be read is read again."""

logger = logging.getLogger(__name__)


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
