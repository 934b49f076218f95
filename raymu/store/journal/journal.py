"""The durable record of requests and decisions. A request is acknowledged once it is committed."""

import hmac
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sql

from raymu.core.events import Event, GenerationPublished, RevocationsAccepted
from raymu.core.records import SampleId
from raymu.core.requests import RevocationRequest
from raymu.errors import ConnectionLost, CoordinatorSuperseded, FileCorrupt, JournalBusy, RunInvalid, StorageFailed
from raymu.store.files.retries import retried
from raymu.store.journal.batched_writes import BatchedWrites
from raymu.store.journal.changed_pages import ChangedPages
from raymu.store.journal.database import Database
from raymu.store.journal.event_chain import BEGINNING, ChainHead, next_head, read_event, snapshot_seal
from raymu.store.journal.id_cipher import IdCipher
from raymu.store.journal.tables import (
    EVENTS,
    FORGET,
    LATER_TABLES,
    RECEIPTS,
    REQUESTS,
    REVOKED,
    RUNS,
    SNAPSHOTS,
    TABLES,
)
from raymu.store.journal.transaction import Transaction, batches, indexed_key, receipt_row, request_rows
from raymu.store.receipts import ReceiptRow

Result = TypeVar("Result")


class Journal:
    """The events of one run, in order. A coordinator writes under its term, and writes of a lower term are refused."""

    def __init__(self, database: Database, *, run: str, key: bytes) -> None:
        """Use a database for one of its runs.

        Args:
            database: The database, which may serve other runs too.
            run: Id of the run.
            key: Key of the seals and of the raw ids. It is not stored in the database.
        """
        self._database, self._run, self._key = database, run, key
        self._term, self._head = 0, BEGINNING
        self._issued: ReceiptRow | None = None  # the last receipt, once it was read under the current term

    def create(self) -> None:
        """Create the journal of the run; an existing one stays as it is. Raises StorageFailed."""

        def attempt() -> None:
            self._database.create(TABLES)
            with self._database.writing() as connection:
                if self._current_term(connection) is None:
                    connection.execute(RUNS.insert().values(run=self._run, term=0))

        retried(attempt, _is_connection_lost)

    def remove(self) -> None:
        """Delete the run's rows from the database. Raises StorageFailed."""

        def attempt() -> None:
            with self._database.writing() as connection:
                for table in TABLES.sorted_tables:
                    connection.execute(table.delete().where(table.c.run == self._run))

        retried(attempt, _is_connection_lost)

    def take_over(self, announce: Callable[[int], object] = lambda _term: None) -> int:
        """Become the coordinator of the run. From then on, writes of earlier coordinators are refused.

        Args:
            announce: Called with the new term, while no other coordinator can take over.

        Returns:
            The term.

        Raises:
            RunInvalid: The database has no such run.
            StorageFailed: The database cannot be written.
        """
        self.term()  # raises before anything is created in a database that has no such run
        self._database.add_tables(TABLES, LATER_TABLES)
        last = sql.select(sql.func.coalesce(sql.func.max(REQUESTS.c.sequence), 0)).where(REQUESTS.c.run == self._run)
        accepted = sql.select(EVENTS).where(EVENTS.c.run == self._run, EVENTS.c.kind == "accepted")
        unindexed = accepted.where(EVENTS.c.sequence > last.scalar_subquery()).order_by(EVENTS.c.sequence)
        taken = RUNS.update().where(RUNS.c.run == self._run).values(term=RUNS.c.term + 1).returning(RUNS.c.term)

        def attempt() -> tuple[int, ChainHead]:
            with self._database.writing_together() as batched:
                terms, heads, rows = batched.together(taken, self._last_event, unindexed)
                if not terms:
                    raise self._unknown_run()
                for row in rows:  # an earlier version of raymu accepted them
                    _run, sequence, kind, payload, _seal = row
                    event = _read(sequence, kind, payload)
                    assert isinstance(event, RevocationsAccepted), "its kind was compared"
                    for batch in batches(request_rows(event, sequence)):
                        batched.later(REQUESTS.insert(), [{"run": self._run, **each} for each in batch])
                [(term,)] = terms
                announce(term)
            return term, _head(heads)

        self._term, self._head = retried(attempt, _is_connection_lost)  # a term may be left out
        self._issued = None
        self._database.scrub_deleted(FORGET.name)  # a crash may have followed a purge
        return self._term

    def follow_changes(self) -> ChangedPages | None:
        """Collect the pages of SQLite's file that are changed from now on, while its log is empty; None for a server."""
        return self._database.follow_changes()

    @property
    def written(self) -> ChainHead:
        """The last event that this object wrote, or found when it took over. Nothing is read."""
        return self._head

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Open a transaction. No other coordinator can take over while it is open, so it also protects files.

        Raises:
            CoordinatorSuperseded: A later coordinator has taken over.
            RunInvalid: The journal has an event that this object did not write.
            StorageFailed: The database cannot be written.
        """
        head: ChainHead | None = None
        try:
            with self._database.writing_together() as batched:
                self._require_own(self._locked_head(batched))
                transaction = Transaction(batched, self._run, self._key, self._head)
                transaction.issued = self._issued
                yield transaction
                head = transaction.head
        except StorageFailed:
            if head is None or not self._has_committed(head):
                raise
        assert head is not None, "the transaction ended"
        self._head, self._issued = head, transaction.issued

    def write(self, work: Callable[[Transaction], Result]) -> Result:
        """Do something in a transaction: again from its beginning, if the connection is lost before it is committed.

        Raises as `writing`.
        """

        def attempt() -> Result:
            with self.writing() as transaction:
                return work(transaction)

        return retried(attempt, _is_connection_lost)

    def _write_at_once(self, work: Callable[[Transaction], object]) -> None:
        """Do something that only writes, on a server in one round trip: the lock, the check, the writes and the commit.

        Raises as `writing`.
        """
        if not self._database.is_server:
            self.write(work)
            return

        was_lost = False

        def attempt() -> None:
            nonlocal was_lost
            head: ChainHead | None = None
            try:
                with self._database.writing_together() as batched:
                    for guard in self._guards:
                        batched.later(guard)
                    transaction = Transaction(batched, self._run, self._key, self._head)
                    work(transaction)
                    head = transaction.head
            except StorageFailed as error:
                # A try that was lost may arrive late, and then be in the way of this one.
                was_lost = was_lost or isinstance(error, ConnectionLost)
                if head is None or not (was_lost and self._has_committed(head)):
                    if head is None or isinstance(error, ConnectionLost):
                        raise
                    self.write(work)  # which says what is wrong
                    return
            assert head is not None, "the transaction ended"
            self._head = head

        retried(attempt, _is_connection_lost)

    @property
    def _guards(self) -> Iterator[sql.Select[Any]]:
        """Yield what fails in a transaction of anybody but the present coordinator, and keeps others from taking over."""
        own = sql.select(sql.literal(1)).where(RUNS.c.run == self._run, RUNS.c.term == self._term).with_for_update()
        yield sql.select(1 / sql.func.count()).select_from(own.subquery())
        if self._head != BEGINNING:
            yield sql.select(1 / sql.func.count()).where(
                EVENTS.c.run == self._run, EVENTS.c.sequence == self._head.sequence, EVENTS.c.seal == self._head.seal
            )

    def _has_committed(self, head: ChainHead) -> bool:
        """Return whether the journal ends with an event whose commit seemed to fail; False if that cannot be found out."""

        def is_last() -> bool:
            # The lock waits for the end of the transaction whose answer was lost, which the server may not know yet.
            with self._database.writing_together() as batched:
                return self._locked_head(batched, ends=True) == head

        if head == self._head:
            return False  # nothing was added
        try:
            return retried(is_last, _is_connection_lost)
        except (StorageFailed, JournalBusy):
            return False

    def _require_own(self, head: ChainHead) -> None:
        if head != self._head:  # a commit's answer was lost, and the caller told so
            raise RunInvalid("the journal", "holds a write that seemed to have failed; open the run again")

    def _locked_head(self, batched: BatchedWrites, *, ends: bool = False) -> ChainHead:
        """Take the lock of the run, until the commit, and return its last event. Raises CoordinatorSuperseded."""
        # SQLite locks the database, PostgreSQL this row, before the term and then the last event are read.
        taken = RUNS.update().where(RUNS.c.run == self._run).values(term=RUNS.c.term).returning(RUNS.c.term)
        terms, heads = batched.together(taken, self._last_event, ends=ends)
        current = terms[0][0] if terms else None
        if current != self._term:
            raise CoordinatorSuperseded(self._term, current or 0)
        return _head(heads)

    @property
    def _last_event(self) -> sql.Select[Any]:
        columns = sql.select(EVENTS.c.sequence, EVENTS.c.seal).where(EVENTS.c.run == self._run)
        return columns.order_by(EVENTS.c.sequence.desc()).limit(1)

    def append(self, *events: Event) -> None:
        """Commit events together. Raises CoordinatorSuperseded, StorageFailed."""
        self._write_at_once(lambda transaction: transaction.add(*events))

    def accept(
        self,
        event: RevocationsAccepted,
        *,
        forget: Mapping[str, Mapping[int, Sequence[SampleId]]],
        hashes: Mapping[str, Sequence[str]],
    ) -> None:
        """Commit accepted requests in one transaction, with the ids that they name.

        Args:
            event: The acceptance. It also has the pseudonyms of the idempotency keys.
            forget: Request -> shard -> sample ids.
            hashes: Request -> pseudonyms of its ids and its owner.

        Raises:
            CoordinatorSuperseded: A later coordinator has taken over.
            StorageFailed: The database cannot be written.
        """

        def work(transaction: Transaction) -> None:
            transaction.add(event)
            transaction.add_ids(forget, hashes)

        self._write_at_once(work)

    def scrub_purged(self) -> None:
        """Remove the residue of raw ids from the database's files, after a purge is committed."""
        self._database.scrub_deleted(FORGET.name)

    def require_current(self) -> None:
        """Raise CoordinatorSuperseded if a later coordinator has taken over."""

        def attempt() -> None:
            with self._database.writing_together() as batched:
                self._require_own(self._locked_head(batched, ends=True))

        retried(attempt, _is_connection_lost)

    def events(self) -> Iterator[Event]:
        """Yield the events in order.

        Raises:
            FileCorrupt: An event was changed, or an earlier one is missing.
            RunFormatTooNew: A newer version of raymu wrote an event that this one does not understand.
        """
        return (event for _, event in self.sealed_events())

    def sealed_events(self, *, after: ChainHead = BEGINNING) -> Iterator[tuple[ChainHead, Event]]:
        """Yield the events after one of them, each with its sequence and seal. Raises FileCorrupt, RunFormatTooNew."""
        of_run = sql.select(EVENTS).where(EVENTS.c.run == self._run)
        rows = of_run.where(EVENTS.c.sequence > after.sequence).order_by(EVENTS.c.sequence)
        head = after
        with self._database.reading() as connection:
            for row in connection.execute(rows):
                head = self._checked(row, head)
                yield head, _read(row.sequence, row.kind, row.payload)

    def snapshot(self) -> tuple[ChainHead, str] | None:
        """Return the newest snapshot: the event that it follows, and the state as JSON. None without a sound one."""
        if not self._database.has_table(SNAPSHOTS):
            return None
        of_run = sql.select(SNAPSHOTS).where(SNAPSHOTS.c.run == self._run)
        with self._database.reading() as connection:
            row = connection.execute(of_run.order_by(SNAPSHOTS.c.sequence.desc()).limit(1)).one_or_none()
            if row is None:
                return None
            seal_of = sql.select(EVENTS.c.seal).where(EVENTS.c.run == self._run, EVENTS.c.sequence == row.sequence)
            head = ChainHead(sequence=row.sequence, seal=connection.execute(seal_of).scalar_one_or_none() or "")
        is_sound = bool(head.seal) and hmac.compare_digest(row.seal, snapshot_seal(head, row.payload, self._key))
        return (head, row.payload) if is_sound else None

    @property
    def missing_tables(self) -> tuple[str, ...]:
        """Names of the tables that journals of earlier versions lack. Raises FileUnreadable."""
        return tuple(table.name for table in LATER_TABLES if not self._database.has_table(table))

    def has_snapshot(self) -> bool:
        """Return whether there is a snapshot, sound or not."""
        if not self._database.has_table(SNAPSHOTS):
            return False
        query = sql.select(SNAPSHOTS.c.sequence).where(SNAPSHOTS.c.run == self._run).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).one_or_none() is not None

    def requests_by_key(self, keys: Collection[str]) -> dict[str, RevocationRequest]:
        """Return the accepted requests that have one of these keys: key -> request.

        The keys are pseudonyms; version 0.1 stored some as they were sent. Raises FileCorrupt, RunFormatTooNew.
        """
        if not keys:
            return {}
        keys = frozenset(keys)
        columns = sql.select(REQUESTS.c.sequence).where(REQUESTS.c.run == self._run)
        has_index = self._database.has_table(REQUESTS)
        with self._database.reading() as connection:
            indexed = self._indexed(connection) if has_index else 0
            of_run = sql.select(EVENTS).where(EVENTS.c.run == self._run)
            rest = of_run.where(EVENTS.c.sequence > indexed, EVENTS.c.kind == "accepted")
            rows = [*connection.execute(rest)]
            for batch in batches(map(indexed_key, keys)) if has_index else ():
                sequences = set(connection.execute(columns.where(REQUESTS.c.idempotency_key.in_(batch))).scalars())
                for several in batches(sorted(sequences)):
                    rows += connection.execute(of_run.where(EVENTS.c.sequence.in_(several)))
            befores = {row.sequence: self._seal_before(connection, row.sequence) for row in rows}
        by_key: dict[str, RevocationRequest] = {}
        for row in sorted(rows, key=lambda row: row.sequence):
            self._checked(row, ChainHead(sequence=row.sequence - 1, seal=befores[row.sequence]))
            event = _read(row.sequence, row.kind, row.payload)
            requests = event.requests if isinstance(event, RevocationsAccepted) else ()
            by_key.update({request.key: request for request in requests if request.key in keys})
        return by_key

    def request_index(self) -> dict[str, tuple[int, str | None]] | None:
        """Return the index of requests: request -> number of its event, and its key. None in a journal of version 0.2."""
        if not self._database.has_table(REQUESTS):
            return None
        query = sql.select(REQUESTS).where(REQUESTS.c.run == self._run)
        with self._database.reading() as connection:
            return {row.request_id: (row.sequence, row.idempotency_key) for row in connection.execute(query)}

    def schema_differences(self) -> list[str]:
        """Return a phrase for everything in the database's schema that raymu did not create. Raises FileUnreadable."""
        return self._database.schema_differences()

    def require_own_schema(self) -> None:
        """Raise FileCorrupt if the schema has anything that raymu did not create, such as a trigger or a view."""
        if differences := self.schema_differences():
            raise FileCorrupt("the journal", f"it has {differences[0]}")

    def position(self) -> tuple[int, ChainHead]:
        """Return the term and the last event, which change with every write. Raises RunInvalid for an unknown run."""
        is_event = sql.and_(EVENTS.c.run == RUNS.c.run, RUNS.c.run == self._run)
        both = sql.select(RUNS.c.term, EVENTS.c.sequence, EVENTS.c.seal).select_from(RUNS.outerjoin(EVENTS, is_event))
        newest = both.where(RUNS.c.run == self._run).order_by(EVENTS.c.sequence.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(newest).one_or_none()
            if row is None or row.sequence is None:
                return self._known_term(connection), BEGINNING
        return row.term, ChainHead(sequence=row.sequence, seal=row.seal)

    def require_readable(self) -> None:
        """Read the last event of each kind. Raises RunFormatTooNew if this version does not understand one."""
        snapshot = self.snapshot()  # whoever can read it can read the events before it
        of_run = sql.select(sql.func.max(EVENTS.c.sequence)).where(EVENTS.c.run == self._run)
        newest = of_run.where(EVENTS.c.sequence > (snapshot[0].sequence if snapshot else 0)).group_by(EVENTS.c.kind)
        rows = sql.select(EVENTS).where(EVENTS.c.run == self._run, EVENTS.c.sequence.in_(newest))
        with self._database.reading() as connection:
            for row in connection.execute(rows):
                read_event(row.payload, row.sequence)

    def term(self) -> int:
        """Return the term of the coordinator that may write; 0 before the first. Raises RunInvalid for an unknown run."""
        with self._database.reading() as connection:
            return self._known_term(connection)

    def head(self) -> ChainHead:
        """Return the last event's sequence and seal."""
        with self._database.reading() as connection:
            return _head(connection.execute(self._last_event).all())

    def contains(self, head: ChainHead) -> bool:
        """Return whether the journal has this event, and so all that were before it."""
        stored = sql.select(EVENTS.c.seal).where(EVENTS.c.run == self._run, EVENTS.c.sequence == head.sequence)
        with self._database.reading() as connection:
            return head == BEGINNING or connection.execute(stored).scalar_one_or_none() == head.seal

    def checked_head(self) -> ChainHead | None:
        """Return the last event if its seal follows from the one before it; None if somebody else wrote it."""
        rows = sql.select(EVENTS).where(EVENTS.c.run == self._run).order_by(EVENTS.c.sequence.desc()).limit(2)
        with self._database.reading() as connection:
            last, before = (*connection.execute(rows).all(), None, None)[:2]
        if last is None:
            return BEGINNING
        head = next_head(
            ChainHead(sequence=before.sequence, seal=before.seal) if before else BEGINNING, last.payload, self._key
        )
        return head if (last.sequence, last.seal) == (head.sequence, head.seal) else None

    def published(self) -> GenerationPublished | None:
        """Return the event of the generation that was published last. Raises FileCorrupt, RunFormatTooNew."""
        of_run = sql.select(EVENTS).where(EVENTS.c.run == self._run)
        last = of_run.where(EVENTS.c.kind == "published").order_by(EVENTS.c.sequence.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(last).one_or_none()
            if row is None:
                return None
            before = connection.execute(of_run.where(EVENTS.c.sequence == row.sequence - 1)).one_or_none()
        self._checked(row, ChainHead(sequence=row.sequence - 1, seal=before.seal if before else ""))
        event = _read(row.sequence, row.kind, row.payload)
        assert isinstance(event, GenerationPublished), "its kind was compared"
        return event

    def has_unpublished_requests(self) -> bool:
        """Return whether requests were accepted after the last publication, which their rewinding follows at once."""
        of_run = sql.select(EVENTS.c.sequence).where(EVENTS.c.run == self._run)
        published = of_run.where(EVENTS.c.kind == "published").order_by(EVENTS.c.sequence.desc()).limit(1)
        last = sql.func.coalesce(published.scalar_subquery(), 0)
        accepted = of_run.where(EVENTS.c.kind == "accepted", EVENTS.c.sequence > last).limit(1)
        with self._database.reading() as connection:
            return connection.execute(accepted).one_or_none() is not None

    def has_unpurged_requests(self) -> bool:
        """Return whether the raw ids of a request are still there."""
        with self._database.reading() as connection:
            query = sql.select(FORGET.c.shard).where(FORGET.c.run == self._run).limit(1)
            return connection.execute(query).one_or_none() is not None

    def receipt_rows(self, request_ids: Sequence[str] | None = None, *, first: int = 1) -> list[ReceiptRow]:
        """Return the receipts that were issued, for these requests or for all, in order.

        Args:
            request_ids: The requests; None for all.
            first: Number of the first receipt that is returned.
        """
        of_run = sql.select(RECEIPTS).where(RECEIPTS.c.run == self._run, RECEIPTS.c.number >= first)
        rows = of_run.order_by(RECEIPTS.c.number)
        with self._database.reading() as connection:
            if request_ids is None:
                return [receipt_row(row) for row in connection.execute(rows)]
            selected = [
                receipt_row(row)
                for batch in batches(request_ids)
                for row in connection.execute(rows.where(RECEIPTS.c.request_id.in_(batch)))
            ]
        return sorted(selected, key=lambda row: row.number)

    def raw_ids_of_shard(self, shard: int) -> dict[str, frozenset[SampleId]]:
        """Return the ids of one shard that unpurged requests name: request -> ids. Raises FileCorrupt."""
        return self.raw_ids_of_shards([shard])[shard]

    def raw_ids_of_shards(self, shards: Collection[int]) -> dict[int, dict[str, frozenset[SampleId]]]:
        """Return the ids of several shards that unpurged requests name: shard -> request -> ids. Raises FileCorrupt."""
        cipher, stored = IdCipher(self._key), sql.select(FORGET).where(FORGET.c.run == self._run)
        ids_of: dict[int, dict[str, frozenset[SampleId]]] = {shard: {} for shard in shards}
        with self._database.reading() as connection:
            queries = (stored.where(FORGET.c.shard.in_(batch)) for batch in batches(ids_of))
            for row in (row for query in queries for row in connection.execute(query)):
                ids = cipher.decrypt(row.sample_ids, request_id=row.request_id, shard=row.shard)
                ids_of[row.shard][row.request_id] = frozenset(ids)
        return ids_of

    def raw_ids_of_requests(
        self, request_ids: Iterable[str] | None = None
    ) -> dict[str, dict[int, frozenset[SampleId]]]:
        """Return the ids that unpurged requests name, of these requests or of all: request -> shard -> ids.

        Raises FileCorrupt.
        """
        cipher, stored = IdCipher(self._key), sql.select(FORGET).where(FORGET.c.run == self._run)
        queries = (
            [stored]
            if request_ids is None
            else [stored.where(FORGET.c.request_id.in_(batch)) for batch in batches(request_ids)]
        )
        ids_of: dict[str, dict[int, frozenset[SampleId]]] = {}
        with self._database.reading() as connection:
            for row in (row for query in queries for row in connection.execute(query)):
                ids = cipher.decrypt(row.sample_ids, request_id=row.request_id, shard=row.shard)
                ids_of.setdefault(row.request_id, {})[row.shard] = frozenset(ids)
        return ids_of

    def revoked_by(self, identity_hashes: Sequence[str]) -> dict[str, str]:
        """Return those pseudonyms that are revoked: pseudonym -> request."""
        revoked: dict[str, str] = {}
        with self._database.reading() as connection:
            for batch in batches(identity_hashes):
                query = sql.select(REVOKED).where(REVOKED.c.run == self._run, REVOKED.c.identity_hash.in_(batch))
                revoked.update({row.identity_hash: row.request_id for row in connection.execute(query)})
        return revoked

    def has_revoked_for(self, request_id: str) -> bool:
        """Return whether a request was accepted, by the pseudonyms of what it revoked."""
        query = sql.select(REVOKED.c.request_id).where(REVOKED.c.run == self._run, REVOKED.c.request_id == request_id)
        with self._database.reading() as connection:
            return connection.execute(query.limit(1)).one_or_none() is not None

    def revoked(self) -> dict[str, str]:
        """Return all revoked pseudonyms: pseudonym -> request."""
        query = sql.select(REVOKED).where(REVOKED.c.run == self._run)
        with self._database.reading() as connection:
            return {row.identity_hash: row.request_id for row in connection.execute(query)}

    def close(self, *, at_rest: bool = False) -> None:
        """Close the database. SQLite's file is then complete by itself. at_rest: True if nobody is about to write"""
        self._database.close(at_rest=at_rest)

    def _current_term(self, connection: sql.Connection) -> int | None:
        return connection.execute(sql.select(RUNS.c.term).where(RUNS.c.run == self._run)).scalar_one_or_none()

    def _known_term(self, connection: sql.Connection) -> int:
        term = self._current_term(connection)
        if term is None:
            raise self._unknown_run()
        return term

    def _unknown_run(self) -> RunInvalid:
        return RunInvalid("the journal", f"does not know run {self._run}; restore the database that belongs to the run")

    def _seal_before(self, connection: sql.Connection, sequence: int) -> str:
        before = sql.select(EVENTS.c.seal).where(EVENTS.c.run == self._run, EVENTS.c.sequence == sequence - 1)
        return connection.execute(before).scalar_one_or_none() or ""

    def _indexed(self, connection: sql.Connection) -> int:
        """Return the number of the last event that the index of requests knows."""
        last = sql.select(sql.func.max(REQUESTS.c.sequence)).where(REQUESTS.c.run == self._run)
        return connection.execute(last).scalar_one() or 0

    def _checked(self, row: sql.Row[Any], before: ChainHead) -> ChainHead:
        """Return the head after an event. Raises FileCorrupt if it differs from the stored one."""
        head = next_head(before, row.payload, self._key)
        if (row.sequence, row.seal) != (head.sequence, head.seal):
            raise FileCorrupt(f"journal event {row.sequence}", "it, or one before it, is not what was written")
        return head


def _is_connection_lost(error: Exception) -> bool:
    return isinstance(error, ConnectionLost)


def _head(rows: Sequence[Sequence[Any]]) -> ChainHead:
    """Return the last event that a query found; the beginning if it found none."""
    return ChainHead(sequence=rows[0][0], seal=rows[0][1]) if rows else BEGINNING


def _read(sequence: int, kind: str, payload: str) -> Event:
    """Read a checked event. Raises FileCorrupt if its kind, which queries select by, is not the one it is stored under."""
    event = read_event(payload, sequence)
    if event.kind != kind:
        raise FileCorrupt(f"journal event {sequence}", "its kind is not the one that it is stored under")
    return event
