"""The requests of a run for pages that are asked for again and again: each reads only the events since the one before."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime

from raymu.core.events import Event
from raymu.core.receipt import Receipt
from raymu.report.load import IssuedReceipt, JournalRecord, issued_receipt, key_fingerprint
from raymu.report.requests import LATE, DeadlineStatus, RequestView, deadline_status_of, request_view
from raymu.service.followed_history import FollowedHistory
from raymu.service.served import rewound_for_accepted
from raymu.service.status import RunStatus, status_of
from raymu.store.journal.event_chain import BEGINNING, ChainHead
from raymu.store.run import RunStore

STATES: Mapping[str, Callable[[Receipt, DeadlineStatus], bool]] = {
    "open": lambda receipt, _due: not receipt.is_exact,
    "late": lambda _receipt, due: due in LATE,
    "exact": lambda receipt, _due: receipt.is_exact,
    "approximate": lambda receipt, _due: receipt.published_at is not None and receipt.exactness == "approximate",
    "inconclusive": lambda receipt, _due: receipt.published_at is not None and receipt.exactness == "inconclusive",
    "exact too late": lambda _receipt, due: due is DeadlineStatus.MISSED,
}
"""What a list of requests can be narrowed to: name -> whether a request belongs to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexedRequests:
    """All requests of a run at one time."""

    now: datetime
    status: RunStatus
    receipts: tuple[Receipt, ...]
    """In the order of acceptance."""
    late: Collection[str]
    """Requests that will be exact too late by the forecast."""

    def deadline_status(self, receipt: Receipt) -> DeadlineStatus:
        """Return whether a request meets its due date."""
        return deadline_status_of(receipt, self.late, self.now)

    def matching(self, *, state: str = "", text: str = "") -> list[Receipt]:
        """Return the requests of a state whose id contains a text, in the order of acceptance.

        Args:
            state: One of `STATES`; empty for all.
            text: A part of an id.
        """
        belongs = STATES.get(state)
        return [
            receipt
            for receipt in self.receipts
            if text in receipt.request_id and (belongs is None or belongs(receipt, self.deadline_status(receipt)))
        ]

    def view(self, receipt: Receipt, issued: IssuedReceipt | None = None) -> RequestView:
        """Describe one request.

        Args:
            receipt: What is known of the request now.
            issued: Its receipt as it was issued; None if none was, or if it is not shown.
        """
        return request_view(receipt.at(self.now), late=self.late, now=self.now, issued=issued, group=self.status.group)


class RequestIndex:
    """Follows the journal of one run. Threads take turns at it."""

    def __init__(self, store: RunStore) -> None:
        """Name the run. Nothing is read."""
        self._store, self._followed = store, FollowedHistory(store, is_whole=True)
        self._head: ChainHead = BEGINNING
        self._events: list[Event] = []
        self._issued: dict[str, IssuedReceipt] = {}
        self._receipts = 0
        self.key_fingerprint = key_fingerprint(store)

    def read(self, now: datetime) -> IndexedRequests:
        """Read the events that are new. Raises FileCorrupt, RunFormatTooNew, JournalBusy."""
        with (
            closing(self._store.journal(is_read_only=True)) as journal,
            self._followed.following(journal) as (_, history),
        ):
            generation = rewound_for_accepted(self._store.current(), history)
            status = status_of(self._store, generation, history, now=now)
            return IndexedRequests(
                now=now,
                status=status,
                receipts=history.receipts.receipts(),
                late=frozenset(deadline.request_id for deadline in status.deadlines if deadline.is_late),
            )

    @contextmanager
    def journal(self) -> Iterator[JournalRecord]:
        """Yield all that the page of the run needs of the journal. Raises FileCorrupt, RunFormatTooNew, JournalBusy."""
        with (
            closing(self._store.journal(is_read_only=True)) as journal,
            self._followed.following(journal) as (_, history),
        ):
            if not journal.contains(self._head):  # the run was restored from a backup
                self._head, self._receipts = BEGINNING, 0
                self._events.clear()
                self._issued.clear()
            for head, event in journal.sealed_events(after=self._head):
                self._events.append(event)
                self._head = head
            for row in journal.receipt_rows(first=self._receipts + 1):
                self._issued[row.request_id] = issued_receipt(row)
                self._receipts = row.number
            yield JournalRecord(history=history, events=tuple(self._events), issued=self._issued)

    def issued(self, request_id: str) -> IssuedReceipt | None:
        """Return the latest receipt of a request as it was issued; None before the first. Raises FileCorrupt."""
        with closing(self._store.journal(is_read_only=True)) as journal:
            rows = journal.receipt_rows([request_id])
        return issued_receipt(rows[-1]) if rows else None
