"""One open transaction of a run's journal."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sql

from raymu.core.events import Event, RequestsPurged, RevocationsAccepted
from raymu.core.records import SampleId
from raymu.store.codec import to_json
from raymu.store.journal.batched_writes import BatchedWrites
from raymu.store.journal.event_chain import ChainHead, next_head, snapshot_seal
from raymu.store.journal.id_cipher import IdCipher
from raymu.store.journal.tables import EVENTS, FORGET, RECEIPTS, REQUESTS, REVOKED, SNAPSHOTS
from raymu.store.receipts import ReceiptRow

Item = TypeVar("Item")

ROWS_PER_STATEMENT = 1000
"""Databases limit the parameters of a statement, and end a transaction that is idle for long."""


class Transaction:
    """An open transaction. `head` is the journal's head after the events that it adds."""

    def __init__(self, batched: BatchedWrites, run: str, key: bytes, head: ChainHead) -> None:
        self._batched, self._run, self._key = batched, run, key
        self.head = head
        self.issued: ReceiptRow | None = None
        """The last receipt, if it is known."""

    def add(self, *events: Event) -> ChainHead:
        """Add events at the end. Returns the new head."""
        rows: list[Mapping[str, object]] = []
        accepted: list[Mapping[str, object]] = []
        for event in events:
            payload = to_json(event).decode()
            self.head = next_head(self.head, payload, self._key)
            rows.append(
                {"sequence": self.head.sequence, "kind": event.kind, "payload": payload, "seal": self.head.seal}
            )
            if isinstance(event, RevocationsAccepted):
                accepted += request_rows(event, self.head.sequence)
        self._insert(EVENTS, rows)
        self._insert(REQUESTS, accepted)
        return self.head

    def save_snapshot(self, head: ChainHead, payload: str) -> None:
        """Store the state that follows from the events up to one of them, in the place of an earlier one."""
        self._batched.later(SNAPSHOTS.delete().where(SNAPSHOTS.c.run == self._run))
        seal = snapshot_seal(head, payload, self._key)
        self._insert(SNAPSHOTS, [{"sequence": head.sequence, "payload": payload, "seal": seal}])

    def add_ids(
        self, forget: Mapping[str, Mapping[int, Sequence[SampleId]]], hashes: Mapping[str, Sequence[str]]
    ) -> None:
        """Store the ids that requests name: raw until the purge, and as pseudonyms for ever.

        Args:
            forget: Request -> shard -> sample ids.
            hashes: Request -> pseudonyms of its ids and its owner.
        """
        cipher = IdCipher(self._key)
        self._insert(
            FORGET,
            (
                {
                    "request_id": request_id,
                    "shard": shard,
                    "sample_ids": cipher.encrypt(sample_ids, request_id=request_id, shard=shard),
                }
                for request_id, by_shard in forget.items()
                for shard, sample_ids in by_shard.items()
            ),
        )
        self._insert(
            REVOKED,
            (
                {"identity_hash": identity_hash, "request_id": request_id}
                for request_id, identity_hashes in hashes.items()
                for identity_hash in identity_hashes
            ),
        )

    def purge(self, event: RequestsPurged) -> ChainHead:
        """Record that requests are purged, and delete their raw ids. Returns the new head."""
        head = self.add(event)
        for purged in batches(event.request_ids):
            self._batched.later(FORGET.delete().where(FORGET.c.run == self._run, FORGET.c.request_id.in_(purged)))
        return head

    def last_receipt(self) -> ReceiptRow | None:
        """Return the receipt that was issued last; None before the first."""
        if self.issued is None:
            last = sql.select(RECEIPTS).where(RECEIPTS.c.run == self._run).order_by(RECEIPTS.c.number.desc()).limit(1)
            row = self._batched.execute(last).one_or_none()
            self.issued = receipt_row(row) if row else None
        return self.issued

    def add_receipts(self, receipts: Iterable[ReceiptRow]) -> None:
        """Store issued receipts, which are never deleted."""
        rows = list(receipts)
        self._insert(RECEIPTS, map(asdict, rows))
        self.issued = rows[-1] if rows else self.issued

    def _insert(self, table: sql.Table, rows: Iterable[Mapping[str, object]]) -> None:
        for batch in batches(rows):
            self._batched.later(table.insert(), [{"run": self._run, **row} for row in batch])


def request_rows(event: RevocationsAccepted, sequence: int) -> list[Mapping[str, object]]:
    """Return the rows of the index of requests that an event adds."""
    return [
        {"request_id": request.request_id, "sequence": sequence, "idempotency_key": indexed_key(request.key)}
        for request in event.requests
    ]


def indexed_key(key: str | None) -> str | None:
    """Return an idempotency key as the index has it: without zero bytes, which text of PostgreSQL cannot have."""
    return None if key is None else key.replace("\0", "")


def receipt_row(row: sql.Row[Any]) -> ReceiptRow:
    """Return a row of the table as a record."""
    return ReceiptRow(number=row.number, request_id=row.request_id, document=row.document)


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Split items into lists that fit into one statement each."""
    rest = iter(items)
    while batch := list(islice(rest, ROWS_PER_STATEMENT)):
        yield batch
