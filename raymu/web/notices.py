"""Notices about the requests of a run, derived from its journal: accepted, rewound, settled, overdue."""

import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from raymu.core.events import Event, GenerationPublished, RevocationsAccepted
from raymu.core.receipt import Receipt
from raymu.service.followed_history import FollowedHistory
from raymu.service.history import History
from raymu.store.journal.journal_reader import JournalReader
from raymu.store.receipts import issued_receipt
from raymu.store.run import RunStore
from raymu.web.outbox import Cursor
from raymu.web.protocol_settings import NoticeKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """Something that became of a request."""

    kind: NoticeKind
    at: datetime
    receipt: Receipt
    """The request's receipt, as far as it has come."""
    receipt_sha256: str | None = None
    """SHA-256, in hex, of the receipt that was issued; None before one was."""

    def id(self, run_id: str) -> str:
        """Return what names the notice, the same whenever it is derived."""
        text = json.dumps([run_id, self.kind, self.receipt.request_id, self.receipt_sha256])
        return f"msg_{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def body(self, run_id: str, name: str) -> str:
        """Return the notice as JSON. It names no sample and no owner."""
        receipt = self.receipt
        return json.dumps(
            {
                "type": f"request.{self.kind}",
                "timestamp": _time(self.at),
                "data": {
                    "run": name,
                    "run_id": run_id,
                    "request_id": receipt.request_id,
                    "state": self.kind,
                    "received_at": _time(receipt.received_at),
                    "accepted_at": _time(receipt.accepted_at),
                    "rewound_at": None if self.kind == "accepted" else _time(receipt.rewound_at),
                    "settled_at": _time(receipt.settled_at) if self.kind == "settled" else None,
                    "due_at": _time(receipt.due_at),
                    "due_met": False if self.kind == "overdue" else receipt.due_met,
                    "exactness": str(receipt.exactness) if self.kind == "settled" else None,
                    "receipt_sha256": self.receipt_sha256,
                },
            },
            separators=(",", ":"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What a journal has that was not read before."""

    notices: tuple[Notice, ...]
    cursor: Cursor
    """How far the journal was read."""
    overdue: frozenset[str]
    """All open requests that are overdue."""
    next_due_at: datetime | None
    """When the next open request will be overdue; None if none will."""


class NoticeReader:
    """Reads the notices of one run. One thread uses it."""

    def __init__(self, store: RunStore) -> None:
        """Name the run. Nothing is read."""
        self._store, self._followed = store, FollowedHistory(store)

    def read(self, after: Cursor | None, *, said_overdue: Collection[str], now: datetime) -> News:
        """Read what is new.

        Args:
            after: How far the journal was read. None, and a cursor of another journal, begin with the present.
            said_overdue: Requests whose being overdue was said already.
            now: The present time.

        Raises:
            RaymuError: What reading a journal raises.
        """
        with (
            closing(self._store.journal(is_read_only=True)) as journal,
            self._followed.following(journal) as (head, history),
        ):
            if after is None or not (after.head.sequence == 0 or journal.contains(after.head)):
                rows = journal.receipt_rows()
                begin = Cursor(head=head, receipts=rows[-1].number if rows else 0)
                return self._news([], begin, history, said_overdue, now)
            notices: list[Notice] = []
            for last, event in journal.sealed_events(after=after.head):
                if last.sequence > head.sequence:
                    break
                notices += _of_event(event, history)
            receipts = after.receipts
            for number, notice in self._settled(journal, after.receipts, head.sequence):
                receipts = number
                notices += [notice] if notice else []
            notices.sort(key=lambda notice: notice.at)
            return self._news(notices, Cursor(head=head, receipts=receipts), history, said_overdue, now)

    def _settled(self, journal: JournalReader, after: int, until: int) -> Iterator[tuple[int, Notice | None]]:
        """Yield the number of each newly issued receipt, and a notice if its request is settled."""
        for row in journal.receipt_rows(first=after + 1):
            event, receipt = issued_receipt(
                row, run=self._store.manifest.run_id, public_key=self._store.keys.public_key
            )
            if event > until:
                return
            settled_at = receipt.settled_at
            if settled_at is None:
                yield row.number, None
            else:
                at = max(settled_at, receipt.purged_at or settled_at)
                yield row.number, Notice(kind="settled", at=at, receipt=receipt, receipt_sha256=row.sha256)

    def _news(
        self, notices: list[Notice], cursor: Cursor, history: History, said_overdue: Collection[str], now: datetime
    ) -> News:
        open_receipts = history.receipts.open
        overdue = [receipt.at(now) for receipt in open_receipts if receipt.at(now).is_overdue]
        fresh = [
            Notice(kind="overdue", at=receipt.due_at, receipt=receipt)
            for receipt in overdue
            if receipt.request_id not in said_overdue
        ]
        due = [receipt.due_at for receipt in open_receipts if receipt.due_at >= now and not receipt.is_exact]
        return News(
            notices=(*notices, *fresh),
            cursor=cursor,
            overdue=frozenset(receipt.request_id for receipt in overdue),
            next_due_at=min(due, default=None),
        )


def _of_event(event: Event, history: History) -> list[Notice]:
    match event:
        case RevocationsAccepted(at=at, requests=requests):
            receipts = history.receipts.of([request.request_id for request in requests])
            return [Notice(kind="accepted", at=at, receipt=receipt) for receipt in receipts.values()]
        case GenerationPublished(at=at, rewound=rewound) if rewound:
            receipts = history.receipts.of(rewound)
            return [Notice(kind="rewound", at=at, receipt=receipt) for receipt in receipts.values()]
        case _:
            return []


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
