"""What the journal of a run holds. Reading changes nothing, and needs no term."""

import hmac
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sql

from raymu.core.events import Event, GenerationPublished, RevocationsAccepted
from raymu.core.records import SampleId
from raymu.core.requests import RevocationRequest
from raymu.errors import FileCorrupt, RunInvalid
from raymu.store.journal.database import Database
from raymu.store.journal.event_chain import BEGINNING, ChainHead, next_head, read_event, snapshot_seal
from raymu.store.journal.id_cipher import IdCipher
from raymu.store.journal.tables import EVENTS, FORGET, LATER_TABLES, RECEIPTS, REQUESTS, REVOKED, RUNS, SNAPSHOTS
from raymu.store.journal.transaction import batches, indexed_key, receipt_row
from raymu.store.receipts import ReceiptRow


class JournalReader:
    """The events of one run, its receipts, and the ids that it has still to forget."""

    def __init__(self, database: Database, *, run: str, key: bytes) -> None:
        """Use a database for one of its runs.

        Args:
            database: The database, which may serve other runs too.
            run: Id of the run.
            key: Key of the seals and of the raw ids. It is not stored in the database.
        """
        self._database, self._run, self._key = database, run, key

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
                yield head, read_stored(row.sequence, row.kind, row.payload)

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

    def has_snapshot(self, *, after: int = 0) -> bool:
        """Return whether there is a snapshot, sound or not, that follows a later event than the one with this number."""
        if not self._database.has_table(SNAPSHOTS):
            return False
        of_run = sql.select(SNAPSHOTS.c.sequence).where(SNAPSHOTS.c.run == self._run)
        query = of_run.where(SNAPSHOTS.c.sequence > after).limit(1)
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
            event = read_stored(row.sequence, row.kind, row.payload)
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
            return head_of(connection.execute(self._last_event).all())

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
        event = read_stored(row.sequence, row.kind, row.payload)
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

    @property
    def _last_event(self) -> sql.Select[Any]:
        columns = sql.select(EVENTS.c.sequence, EVENTS.c.seal).where(EVENTS.c.run == self._run)
        return columns.order_by(EVENTS.c.sequence.desc()).limit(1)

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


def head_of(rows: Sequence[Sequence[Any]]) -> ChainHead:
    """Return the last event that a query found; the beginning if it found none."""
    return ChainHead(sequence=rows[0][0], seal=rows[0][1]) if rows else BEGINNING


def read_stored(sequence: int, kind: str, payload: str) -> Event:
    """Read a checked event. Raises FileCorrupt if its kind, which queries select by, is not the one it is stored under."""
    event = read_event(payload, sequence)
    if event.kind != kind:
        raise FileCorrupt(f"journal event {sequence}", "its kind is not the one that it is stored under")
    return event
