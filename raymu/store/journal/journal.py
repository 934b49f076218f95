"""The durable record of requests and decisions. Acknowledged means committed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sql

from raymu.core.events import Event, GenerationPublished, RevocationsAccepted
from raymu.core.records import SampleId
from raymu.errors import CoordinatorSuperseded, FileCorrupt, RunInvalid
from raymu.store.journal.database import Database
from raymu.store.journal.event_chain import BEGINNING, ChainHead, next_head, read_event
from raymu.store.journal.id_cipher import IdCipher
from raymu.store.journal.tables import EVENTS, FORGET, RECEIPTS, REVOKED, RUNS, TABLES
from raymu.store.journal.transaction import Transaction, batches, receipt_row
from raymu.store.receipts import ReceiptRow


class Journal:
    """One run's events, in the order in which they happened. A coordinator writes under its term; a lower one is refused."""

    def __init__(self, database: Database, *, run: str, key: bytes) -> None:
        """run: the run's id; key: of the seals and of the raw ids, kept outside the database"""
        self._database, self._run, self._key = database, run, key
        self._term, self._head = 0, BEGINNING

    def create(self) -> None:
        """Begin the run's journal; where it is there already, nothing changes. Raises StorageFailed."""
        self._database.create(TABLES)
        with self._database.writing() as connection:
            if self._current_term(connection) is None:
                connection.execute(RUNS.insert().values(run=self._run, term=0))

    def remove(self) -> None:
        """Have nothing more in the database of a run that is given up. Raises StorageFailed."""
        with self._database.writing() as connection:
            for table in TABLES.sorted_tables:
                connection.execute(table.delete().where(table.c.run == self._run))

    def take_over(self, announce: Callable[[int], object] = lambda _term: None) -> int:
        """Become the run's coordinator: from here on, writes of earlier ones are refused. returns: the term

        announce: tells the term to those who cannot see the database, while no other coordinator can take over
        Raises RunInvalid where the database does not know the run, StorageFailed.
        """
        with self._database.writing() as connection:
            connection.execute(RUNS.update().where(RUNS.c.run == self._run).values(term=RUNS.c.term + 1))
            term = self._known_term(connection)
            head = self._last(connection)
            announce(term)
        self._term, self._head = term, head
        self._database.scrub_deleted(FORGET.name)  # a crash may have come between a purge and this
        return term

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """One transaction. While it is open no other coordinator can take over, so files may be written under it too.

        Raises CoordinatorSuperseded, StorageFailed; RunInvalid where the journal holds more than this coordinator knows.
        """
        with self._database.writing() as connection:
            # Takes the write lock (SQLite: of the database; PostgreSQL: of this row) before the term is read.
            connection.execute(RUNS.update().where(RUNS.c.run == self._run).values(term=RUNS.c.term))
            current = self._current_term(connection)
            if current != self._term:
                raise CoordinatorSuperseded(self._term, current or 0)
            if self._last(connection) != self._head:  # the connection was lost just when it was committed
                raise RunInvalid("the journal", "holds a write that was taken for failed; open the run again")
            transaction = Transaction(connection, self._run, self._key, self._head)
            yield transaction
        self._head = transaction.head

    def append(self, *events: Event) -> None:
        """Commit events together. Raises CoordinatorSuperseded, StorageFailed."""
        with self.writing() as transaction:
            transaction.add(*events)

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
        with self.writing() as transaction:
            transaction.add(event)
            transaction.add_ids(forget, hashes)

    def scrub_purged(self) -> None:
        """After a purge is committed: no trace of its raw ids may stay in the database's files."""
        self._database.scrub_deleted(FORGET.name)

    def require_current(self) -> None:
        """Raises CoordinatorSuperseded where a later coordinator has taken over."""
        with self.writing():
            pass

    def events(self) -> Iterator[Event]:
        """Raises FileCorrupt where an event is not what was written, or one is missing before it; RunInvalid where a newer
        raymu wrote it.
        """
        return (event for _, event in self.sealed_events())

    def sealed_events(self) -> Iterator[tuple[ChainHead, Event]]:
        """The events, each with its place and seal. Raises FileCorrupt, RunInvalid."""
        rows = sql.select(EVENTS).where(EVENTS.c.run == self._run).order_by(EVENTS.c.sequence)
        head = BEGINNING
        with self._database.reading() as connection:
            for row in connection.execute(rows):
                head = self._checked(row, head)
                yield head, read_event(row.payload, row.sequence)

    def require_readable(self) -> None:
        """Raises RunFormatTooNew where the newest event of some kind is one that a newer raymu wrote."""
        newest = sql.select(sql.func.max(EVENTS.c.sequence)).where(EVENTS.c.run == self._run).group_by(EVENTS.c.kind)
        rows = sql.select(EVENTS).where(EVENTS.c.run == self._run, EVENTS.c.sequence.in_(newest))
        with self._database.reading() as connection:
            for row in connection.execute(rows):
                read_event(row.payload, row.sequence)

    def term(self) -> int:
        """Of the coordinator that may write; 0 before the first. Raises RunInvalid where the run is not known."""
        with self._database.reading() as connection:
            return self._known_term(connection)

    def head(self) -> ChainHead:
        with self._database.reading() as connection:
            return self._last(connection)

    def published(self) -> GenerationPublished | None:
        """The last generation that was published. Raises FileCorrupt, RunInvalid."""
        of_run = sql.select(EVENTS).where(EVENTS.c.run == self._run)
        last = of_run.where(EVENTS.c.kind == "published").order_by(EVENTS.c.sequence.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(last).one_or_none()
            if row is None:
                return None
            before = connection.execute(of_run.where(EVENTS.c.sequence == row.sequence - 1)).one_or_none()
        self._checked(row, ChainHead(sequence=row.sequence - 1, seal=before.seal if before else ""))
        event = read_event(row.payload, row.sequence)
        if not isinstance(event, GenerationPublished):
            raise FileCorrupt(f"journal event {row.sequence}", "it is not of the kind that it is kept as")
        return event

    def receipt_rows(self, request_ids: Sequence[str] | None = None) -> list[ReceiptRow]:
        """The receipts that were issued, of these requests or of all, in order."""
        rows = sql.select(RECEIPTS).where(RECEIPTS.c.run == self._run).order_by(RECEIPTS.c.number)
        with self._database.reading() as connection:
            if request_ids is None:
                return [receipt_row(row) for row in connection.execute(rows)]
            found = [
                receipt_row(row)
                for some in batches(request_ids)
                for row in connection.execute(rows.where(RECEIPTS.c.request_id.in_(some)))
            ]
        return sorted(found, key=lambda row: row.number)

    def sample_ids(self, *, shard: int) -> dict[str, frozenset[SampleId]]:
        """Raw ids of the requests that are not purged. returns: request -> its ids in this shard. Raises FileCorrupt"""
        query = sql.select(FORGET).where(FORGET.c.run == self._run, FORGET.c.shard == shard)
        cipher = IdCipher(self._key)
        with self._database.reading() as connection:
            return {
                row.request_id: frozenset(cipher.decrypt(row.sample_ids, request_id=row.request_id, shard=shard))
                for row in connection.execute(query)
            }

    def raw_ids(self, request_ids: Iterable[str] | None = None) -> dict[str, dict[int, frozenset[SampleId]]]:
        """Of the requests that are not purged; only of these, where some are given. returns: request -> shard -> its ids

        Raises FileCorrupt.
        """
        cipher, kept = IdCipher(self._key), sql.select(FORGET).where(FORGET.c.run == self._run)
        asked = (
            [kept]
            if request_ids is None
            else [kept.where(FORGET.c.request_id.in_(some)) for some in batches(request_ids)]
        )
        found: dict[str, dict[int, frozenset[SampleId]]] = {}
        with self._database.reading() as connection:
            for row in (row for query in asked for row in connection.execute(query)):
                ids = cipher.decrypt(row.sample_ids, request_id=row.request_id, shard=row.shard)
                found.setdefault(row.request_id, {})[row.shard] = frozenset(ids)
        return found

    def revoked_by(self, identity_hashes: Sequence[str]) -> dict[str, str]:
        """Which of these are revoked. returns: keyed hash -> request"""
        found: dict[str, str] = {}
        with self._database.reading() as connection:
            for asked in batches(identity_hashes):
                query = sql.select(REVOKED).where(REVOKED.c.run == self._run, REVOKED.c.identity_hash.in_(asked))
                found.update({row.identity_hash: row.request_id for row in connection.execute(query)})
        return found

    def revoked(self) -> dict[str, str]:
        """Everything that is revoked. returns: keyed hash -> request"""
        query = sql.select(REVOKED).where(REVOKED.c.run == self._run)
        with self._database.reading() as connection:
            return {row.identity_hash: row.request_id for row in connection.execute(query)}

    def close(self) -> None:
        self._database.close()

    def _current_term(self, connection: sql.Connection) -> int | None:
        return connection.execute(sql.select(RUNS.c.term).where(RUNS.c.run == self._run)).scalar_one_or_none()

    def _known_term(self, connection: sql.Connection) -> int:
        term = self._current_term(connection)
        if term is None:
            raise RunInvalid("the journal", f"knows no run {self._run}; restore the database that belongs to the run")
        return term

    def _last(self, connection: sql.Connection) -> ChainHead:
        columns = sql.select(EVENTS.c.sequence, EVENTS.c.seal).where(EVENTS.c.run == self._run)
        row = connection.execute(columns.order_by(EVENTS.c.sequence.desc()).limit(1)).one_or_none()
        return ChainHead(sequence=row.sequence, seal=row.seal) if row else BEGINNING

    def _checked(self, row: sql.Row[Any], before: ChainHead) -> ChainHead:
        """The head that an event makes, which must be the one that is kept with it."""
        head = next_head(before, row.payload, self._key)
        if (row.sequence, row.seal) != (head.sequence, head.seal):
            raise FileCorrupt(f"journal event {row.sequence}", "it, or one before it, is not what was written")
        return head
