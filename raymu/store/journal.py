"""The durable record of requests and decisions. Acknowledged means committed."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sql

from raymu.core.events import Event, GenerationPublished, RequestsPurged, RevocationsAccepted
from raymu.core.records import SampleId
from raymu.errors import CoordinatorSuperseded, FileCorrupt, RunInvalid
from raymu.store.codec import from_json, to_json
from raymu.store.database import Database
from raymu.store.ledger import LedgerRow
from raymu.store.tables import EVENTS, FORGET, LEDGER, REVOKED, RUNS, TABLES

_LOOKED_UP_AT_ONCE = 500
"""Databases bound the parameters of a query."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The last event of a journal: its sequence, from 1, and its seal."""

    sequence: int
    seal: str


class Journal:
    """One run's events, in the order in which they happened. A coordinator writes under its epoch; a lower one is refused."""

    def __init__(self, database: Database, *, run: str, key: bytes) -> None:
        """run: the run's id; key: of the seals, kept outside the database"""
        self._database, self._run, self._key = database, run, key
        self._epoch = 0

    def create(self) -> None:
        """Begin the run's journal; where it is there already, nothing changes. Raises StorageFull."""
        with self._database.writing() as connection:
            TABLES.create_all(connection)
            if self._current_epoch(connection) is None:
                connection.execute(RUNS.insert().values(run=self._run, epoch=0))

    def take_over(self, announce: Callable[[int], object] = lambda _epoch: None) -> int:
        """Become the run's coordinator: from here on, writes of earlier ones are refused. returns: the epoch

        announce: tells the epoch to those who cannot see the database, while no other coordinator can take over
        Raises RunInvalid where the database does not know the run, StorageFull.
        """
        with self._database.writing() as connection:
            connection.execute(RUNS.update().where(RUNS.c.run == self._run).values(epoch=RUNS.c.epoch + 1))
            epoch = self._current_epoch(connection)
            if epoch is None:
                raise RunInvalid(
                    "the journal", f"knows no run {self._run}; restore the database that belongs to the run"
                )
            announce(epoch)
        self._epoch = epoch
        self._database.erase_deleted(FORGET.name)  # a crash may have come between a purge and this
        return epoch

    @contextmanager
    def writing(self) -> Iterator["Entry"]:
        """One transaction. While it is open no other coordinator can take over, so files may be written under it too.

        Raises CoordinatorSuperseded, StorageFull.
        """
        with self._database.writing() as connection:
            # Takes the write lock (SQLite: of the database; PostgreSQL: of this row) before the epoch is read.
            connection.execute(RUNS.update().where(RUNS.c.run == self._run).values(epoch=RUNS.c.epoch))
            current = self._current_epoch(connection)
            if current != self._epoch:
                raise CoordinatorSuperseded(self._epoch, current or 0)
            yield Entry(connection, self._run, self._key)

    def append(self, *events: Event) -> None:
        """Commit events together. Raises CoordinatorSuperseded, StorageFull."""
        with self.writing() as entry:
            entry.add(*events)

    def accept(
        self,
        event: RevocationsAccepted,
        *,
        forget: Mapping[str, Mapping[int, Sequence[SampleId]]],
        hashes: Mapping[str, Sequence[str]],
    ) -> None:
        """Commit accepted requests in one transaction, with what they name.

        forget: request -> shard -> sample ids; hashes: request -> keyed hashes of its ids and owner
        """
        with self.writing() as entry:
            entry.add(event)
            entry.keep(forget, hashes)

    def erase_purged(self) -> None:
        """After a purge is committed: no trace of its raw ids may stay in the database's files."""
        self._database.erase_deleted(FORGET.name)

    def require_current(self) -> None:
        """Raises CoordinatorSuperseded where a later coordinator has taken over."""
        with self.writing():
            pass

    def events(self) -> Iterator[Event]:
        """Raises FileCorrupt where an event is not what was written, or one is missing before it."""
        return (event for _, event in self.sealed_events())

    def sealed_events(self) -> Iterator[tuple[Head, Event]]:
        """The events, each with its place and seal. Raises FileCorrupt."""
        rows = sql.select(EVENTS).where(EVENTS.c.run == self._run).order_by(EVENTS.c.sequence)
        before = Head(sequence=0, seal="")
        with self._database.reading() as connection:
            for row in connection.execute(rows):
                head = _sealed(before, row.payload, self._key)
                if (row.sequence, row.seal) != (head.sequence, head.seal):
                    raise FileCorrupt(f"journal event {row.sequence}", "it, or one before it, is not what was written")
                before = head
                yield head, from_json(Event, row.payload, source=f"journal event {row.sequence}")

    def epoch(self) -> int:
        """Of the coordinator that may write; 0 before the first. Raises RunInvalid where the run is not known."""
        with self._database.reading() as connection:
            epoch = self._current_epoch(connection)
        if epoch is None:
            raise RunInvalid("the journal", f"knows no run {self._run}; restore the database that belongs to the run")
        return epoch

    def head(self) -> Head:
        with self._database.reading() as connection:
            return _head(connection, self._run)

    def published(self) -> GenerationPublished | None:
        """The last generation that was published. Raises FileCorrupt."""
        of_run = sql.select(EVENTS).where(EVENTS.c.run == self._run)
        last = of_run.where(EVENTS.c.kind == "published").order_by(EVENTS.c.sequence.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(last).one_or_none()
            if row is None:
                return None
            before = connection.execute(of_run.where(EVENTS.c.sequence == row.sequence - 1)).one_or_none()
        source = f"journal event {row.sequence}"
        head = _sealed(Head(sequence=row.sequence - 1, seal=before.seal if before else ""), row.payload, self._key)
        if row.seal != head.seal:
            raise FileCorrupt(source, "it, or one before it, is not what was written")
        published: GenerationPublished = from_json(GenerationPublished, row.payload, source=source)
        return published

    def ledger(self, request_ids: Sequence[str] | None = None) -> list[LedgerRow]:
        """The receipts that were issued, of these requests or of all, in order."""
        rows = sql.select(LEDGER).where(LEDGER.c.run == self._run).order_by(LEDGER.c.number)
        with self._database.reading() as connection:
            if request_ids is None:
                return [_ledger_row(row) for row in connection.execute(rows)]
            found = [
                _ledger_row(row)
                for some in _parts(request_ids)
                for row in connection.execute(rows.where(LEDGER.c.request_id.in_(some)))
            ]
        return sorted(found, key=lambda row: row.number)

    def sample_ids(self, *, shard: int) -> dict[str, frozenset[SampleId]]:
        """Raw ids of the requests that are not purged. returns: request -> its ids in this shard"""
        query = sql.select(FORGET.c.request_id, FORGET.c.sample_id).where(
            FORGET.c.run == self._run, FORGET.c.shard == shard
        )
        found: dict[str, set[SampleId]] = {}
        with self._database.reading() as connection:
            for request_id, sample_id in connection.execute(query):
                found.setdefault(request_id, set()).add(json.loads(sample_id))
        return {request_id: frozenset(sample_ids) for request_id, sample_ids in found.items()}

    def revoked_by(self, identity_hashes: Sequence[str]) -> dict[str, str]:
        """Which of these are revoked. returns: keyed hash -> request"""
        found: dict[str, str] = {}
        with self._database.reading() as connection:
            for asked in _parts(identity_hashes):
                query = sql.select(REVOKED).where(REVOKED.c.run == self._run, REVOKED.c.identity_hash.in_(asked))
                found.update({row.identity_hash: row.request_id for row in connection.execute(query)})
        return found

    def revoked(self) -> dict[str, str]:
        """Everything that is revoked. returns: keyed hash -> request"""
        query = sql.select(REVOKED).where(REVOKED.c.run == self._run)
        with self._database.reading() as connection:
            return {row.identity_hash: row.request_id for row in connection.execute(query)}

    def unpurged(self) -> set[str]:
        """The requests whose raw ids are still kept."""
        query = sql.select(FORGET.c.request_id).where(FORGET.c.run == self._run).distinct()
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())

    def close(self) -> None:
        self._database.close()

    def _current_epoch(self, connection: sql.Connection) -> int | None:
        return connection.execute(sql.select(RUNS.c.epoch).where(RUNS.c.run == self._run)).scalar_one_or_none()


class Entry:
    """What one transaction writes into a run's journal."""

    def __init__(self, connection: sql.Connection, run: str, key: bytes) -> None:
        self._connection, self._run, self._key = connection, run, key

    def add(self, *events: Event) -> Head:
        """returns: the last event, as it is now"""
        head = _head(self._connection, self._run)
        rows = []
        for event in events:
            payload = to_json(event).decode()
            head = _sealed(head, payload, self._key)
            rows.append({"sequence": head.sequence, "kind": event.kind, "payload": payload, "seal": head.seal})
        self._insert(EVENTS, rows)
        return head

    def keep(self, forget: Mapping[str, Mapping[int, Sequence[SampleId]]], hashes: Mapping[str, Sequence[str]]) -> None:
        """The raw ids of requests, until they are purged, and the keyed hashes, for life."""
        ids = [
            {"request_id": request_id, "shard": shard, "sample_id": json.dumps(sample_id)}
            for request_id, by_shard in forget.items()
            for shard, sample_ids in by_shard.items()
            for sample_id in sample_ids
        ]
        revoked = [
            {"identity_hash": identity_hash, "request_id": request_id}
            for request_id, identity_hashes in hashes.items()
            for identity_hash in identity_hashes
        ]
        self._insert(FORGET, ids)
        self._insert(REVOKED, revoked)

    def purge(self, event: RequestsPurged) -> Head:
        """That requests are purged; their raw ids are dropped. returns: the event, as it is in the journal"""
        head = self.add(event)
        for purged in _parts(event.request_ids):
            self._connection.execute(FORGET.delete().where(FORGET.c.run == self._run, FORGET.c.request_id.in_(purged)))
        return head

    def last_receipt(self) -> LedgerRow | None:
        last = sql.select(LEDGER).where(LEDGER.c.run == self._run).order_by(LEDGER.c.number.desc()).limit(1)
        row = self._connection.execute(last).one_or_none()
        return _ledger_row(row) if row else None

    def issue(self, receipts: Iterable[LedgerRow]) -> None:
        """Receipts, for life."""
        self._insert(LEDGER, [asdict(row) for row in receipts])

    def _insert(self, table: sql.Table, rows: Sequence[Mapping[str, object]]) -> None:
        if rows:
            self._connection.execute(table.insert(), [{"run": self._run, **row} for row in rows])


def _head(connection: sql.Connection, run: str) -> Head:
    last = sql.select(EVENTS).where(EVENTS.c.run == run).order_by(EVENTS.c.sequence.desc()).limit(1)
    row = connection.execute(last).one_or_none()
    return Head(sequence=row.sequence, seal=row.seal) if row else Head(sequence=0, seal="")


def _ledger_row(row: sql.Row[Any]) -> LedgerRow:
    return LedgerRow(number=row.number, request_id=row.request_id, document=row.document)


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Few enough for one query each."""
    for start in range(0, len(names), _LOOKED_UP_AT_ONCE):
        yield names[start : start + _LOOKED_UP_AT_ONCE]


def _sealed(before: Head, payload: str, key: bytes) -> Head:
    """Chained: an event that is changed, taken out or put elsewhere breaks every seal from there on."""
    sequence = before.sequence + 1
    message = f"{sequence}\n{before.seal}\n{payload}".encode()
    return Head(sequence=sequence, seal=hmac.new(key, message, hashlib.sha256).hexdigest())
