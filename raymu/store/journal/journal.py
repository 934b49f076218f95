"""The durable record of requests and decisions. A request is acknowledged once it is committed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sql

from raymu.core.events import Event, RevocationsAccepted
from raymu.core.records import SampleId
from raymu.errors import ConnectionLost, CoordinatorSuperseded, JournalBusy, RunInvalid, StorageFailed
from raymu.store.files.retries import retried
from raymu.store.journal.batched_writes import BatchedWrites
from raymu.store.journal.changed_pages import ChangedPages
from raymu.store.journal.database import Database
from raymu.store.journal.event_chain import BEGINNING, ChainHead
from raymu.store.journal.journal_reader import JournalReader, head_of, read_stored
from raymu.store.journal.tables import EVENTS, FORGET, LATER_TABLES, REQUESTS, RUNS, TABLES
from raymu.store.journal.transaction import Transaction, batches, request_rows
from raymu.store.receipts import ReceiptRow

Result = TypeVar("Result")


class Journal(JournalReader):
    """The events of one run, in order. A coordinator writes under its term, and writes of a lower term are refused."""

    def __init__(self, database: Database, *, run: str, key: bytes) -> None:
        """Use a database for one of its runs.

        Args:
            database: The database, which may serve other runs too.
            run: Id of the run.
            key: Key of the seals and of the raw ids. It is not stored in the database.
        """
        super().__init__(database, run=run, key=key)
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
                    event = read_stored(sequence, kind, payload)
                    assert isinstance(event, RevocationsAccepted), "its kind was compared"
                    for batch in batches(request_rows(event, sequence)):
                        batched.later(REQUESTS.insert(), [{"run": self._run, **each} for each in batch])
                [(term,)] = terms
                announce(term)
            return term, head_of(heads)

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
        return head_of(heads)

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


def _is_connection_lost(error: Exception) -> bool:
    return isinstance(error, ConnectionLost)
