"""A SQL database as the journal needs it: commits that survive a power cut, and deleted rows that leave no residue."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, cast
from weakref import finalize

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from raymu.errors import ConfigInvalid, ConnectionLost, FileCorrupt, FileUnreadable, JournalBusy, StorageFailed
from raymu.store.files.database_files import begin_use, end_use
from raymu.store.files.retries import retried
from raymu.store.journal.batched_writes import BatchedWrites
from raymu.store.journal.changed_pages import ChangedPages
from raymu.store.journal.dialects import DIALECTS
from raymu.store.journal.engines import open_engine
from raymu.text import one_line

_PASSWORDS = frozenset({"password", "sslpassword"})
"""Parameters of libpq that a URL can have."""


class Database:
    """A SQLite or PostgreSQL database, by its SQLAlchemy URL."""

    def __init__(self, url: sql.URL, *, is_read_only: bool = False, name: str = "the journal") -> None:
        """Prepare connections; the first use connects.

        Args:
            url: The database.
            is_read_only: True writes nothing and holds no lock while others write
            name: What messages call it.
        """
        self._name, self._is_read_only = name, is_read_only
        self._dialect = DIALECTS[url.get_backend_name()]
        opened = self._dialect.read_only_url(url) if is_read_only else url
        self._shared = open_engine(opened, is_read_only=is_read_only, on_connect=self._begin_use)
        self._shared.use(self)
        self._engine = self._shared.engine
        self.is_immutable = "immutable" in opened.query
        """Whether the file is read as if nobody could write to it: what others write later is not seen."""
        self._file = url.database if url.get_backend_name() == "sqlite" else None
        self._changes: ChangedPages | None = None
        self._use: finalize[..., Any] | None = None
        self._dirty_table: str | None = None
        """A table whose deleted rows may have left residue; empty for none in particular."""
        self._has_written = False

    def create(self, tables: sql.MetaData) -> None:
        """Create the tables that do not exist, even while another process does the same. Raises StorageFailed."""

        def attempt() -> None:
            with self.writing() as connection:
                if self._dialect.schema_lock:
                    connection.exec_driver_sql(self._dialect.schema_lock)
                tables.create_all(connection)

        retried(attempt, self.was_lost)

    def add_tables(self, tables: sql.MetaData, later: Iterable[sql.Table]) -> None:
        """Create the tables if one of the later ones does not exist. Raises as `create`."""
        if not all(map(self.has_table, later)):
            self.create(tables)

    def has_table(self, table: sql.Table) -> bool:
        """Return whether a table exists. Raises as `reading`."""
        if table.name not in self._shared.existing:
            with self.reading() as connection:
                if not cast(_RetriedReads, connection).has_table(table.name):
                    return False
            self._shared.existing.add(table.name)
        return True

    @contextmanager
    def writing(self) -> Iterator[sql.Connection]:
        """Open one transaction. Whoever can repeat it tries again. Raises JournalBusy, ConnectionLost, StorageFailed."""
        self._require_writable()
        self._scrub()
        with (
            self._noting_changes(),
            self._translated_errors(),
            self._engine.connect() as connection,
            connection.begin(),
        ):
            yield connection
            self._has_written = True

    def follow_changes(self) -> "ChangedPages | None":
        """Collect the pages of a SQLite file that change from now on, while its log is empty; None for other databases."""
        self._changes = None if self._file is None else ChangedPages(Path(self._file))
        return self._changes

    @contextmanager
    def _noting_changes(self) -> Iterator[None]:
        """Note what is committed. A failure may have been committed too."""
        changes = self._changes
        if changes is None:
            yield
            return
        with changes.lock:
            try:
                yield
            except BaseException:
                changes.is_complete = False
                raise
            changes.note()

    @contextmanager
    def writing_together(self) -> Iterator[BatchedWrites]:
        """Open one transaction as `writing` does, whose writes are sent with its commit. Raises as `writing`."""
        if not self._dialect.is_server:
            with self.writing() as connection:
                yield BatchedWrites(connection, is_server=False)
            return
        self._require_writable()
        self._scrub()
        with self._translated_errors(), self._engine.connect() as connection:
            batched = BatchedWrites(connection.execution_options(isolation_level="AUTOCOMMIT"), is_server=True)
            try:
                yield batched
                batched.send()
            except BaseException:
                batched.roll_back()
                raise
            self._has_written = True

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """Open a connection to read. Raises JournalBusy, FileUnreadable; FileCorrupt for a damaged or missing journal."""
        with self._translated_errors(is_reading=True):
            connection = retried(self._engine.connect, self._is_lost)
            if self._dialect.is_server:  # a transaction would be two more round trips, and show the same
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                yield cast(sql.Connection, _RetriedReads(connection, self._dialect.is_lost))
            finally:
                _end(connection)

    @contextmanager
    def snapshot(self) -> Iterator[sql.Connection]:
        """Open a transaction that reads all tables as they are at one moment. Raises as `reading`."""

        def begin() -> sql.Connection:
            connection = self._engine.connect()
            try:
                connection.exec_driver_sql(self._dialect.begin_snapshot)
            except SQLAlchemyError:
                _end(connection)
                raise
            return connection

        with self._translated_errors(is_reading=True):
            connection = retried(begin, self._is_lost)
            try:
                yield connection
            finally:
                _end(connection)

    def back_up(self, out: Path) -> None:
        """Copy a SQLite database as it is at one moment into a new file, by SQLite's backup interface.

        The copy has no write-ahead log. Raises as `reading`.
        """
        with (
            self._translated_errors(is_reading=True),
            self._engine.connect() as connection,
            closing(sqlite3.connect(out)) as copy,
        ):
            try:
                cast(sqlite3.Connection, connection.connection.driver_connection).backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
            except sqlite3.Error as error:  # not through SQLAlchemy, which would wrap it
                raise FileUnreadable(self._name, one_line(error)) from error

    def was_lost(self, error: Exception) -> bool:
        """Tell of an error of this object whether a connection was lost, so that another attempt may succeed."""
        cause = error.__cause__
        return isinstance(error, ConnectionLost) or (cause is not None and self._is_lost(cause))

    def _is_lost(self, error: BaseException) -> bool:
        return isinstance(error, SQLAlchemyError) and self._dialect.is_lost(error)

    @property
    def is_server(self) -> bool:
        """Whether each statement that is sent alone costs a round trip."""
        return self._dialect.is_server

    @property
    def can_lock(self) -> bool:
        """Whether the database has locks that end with their connection."""
        return self._dialect.connection_lock is not None

    def try_lock(self, name: str) -> Callable[[], None] | None:
        """Take the lock of a name, which ends with its connection.

        Returns:
            What releases it and closes the connections; None if another connection has it.
        """

        lock, unlock = sql.text(str(self._dialect.connection_lock)), sql.text(str(self._dialect.connection_unlock))

        def attempt() -> tuple[sql.Connection, bool]:
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            return connection, bool(connection.execute(lock, {"name": name}).scalar_one())

        with self._translated_errors():
            connection, is_locked = retried(attempt, self._is_lost)  # a lock ends with its connection

        def release() -> None:
            try:
                if is_locked:  # a connection of the pool must not keep it
                    connection.execute(unlock, {"name": name})
            except SQLAlchemyError:
                with suppress(SQLAlchemyError):
                    connection.invalidate()
            _end(connection)
            self._shared.end_use(self)

        if is_locked:
            return release
        release()
        return None

    def scrub_deleted(self, table: str) -> None:
        """Overwrite the bytes of deleted rows, now or, if a reader or a failure prevents it, at the next write.

        SQLite's write-ahead log keeps old pages until it is truncated; PostgreSQL keeps dead rows until it vacuums.
        """
        self._dirty_table = table
        self._scrub()

    def schema_differences(self) -> list[str]:
        """Return a phrase for everything in the schema that raymu did not create as it is. Raises as `reading`."""

        with self.reading() as connection:
            return list(self._dialect.schema_differences(connection))

    def close(self, *, at_rest: bool = False) -> None:
        """Close the connections. SQLite's file is then complete by itself, even if another process has it open.

        Args:
            at_rest: True if nobody is about to write, so that readers can do without SQLite's log.
        """
        if self._dialect.scrubs_on_close and self._has_written:
            self._dirty_table = self._dirty_table or ""
        self._scrub()
        self._shared.end_use(self)
        if at_rest and self._has_written and self._dialect.at_rest:
            self._put_to_rest(self._dialect.at_rest)
        if self._use is not None:
            self._use()

    def _require_writable(self) -> None:
        """Refuse to write over a connection that readers and writers of a server share. SQLite refuses by itself."""
        if self._is_read_only and self._dialect.is_server:
            raise StorageFailed(self._name, "is open read-only")

    def _begin_use(self) -> None:
        """Keep whoever reads the bytes of the file in this process from ending SQLite's locks."""
        if self._file is not None and (self._use is None or not self._use.alive):
            begin_use(self._file)
            self._use = finalize(self._engine, end_use, self._file)

    def _put_to_rest(self, statement: str) -> None:
        """Let readers do without the log. While another process has the file open, it keeps the log, which is sound too."""
        with (
            suppress(StorageFailed, JournalBusy),
            self._translated_errors(),
            self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            connection.exec_driver_sql(statement)
        self._engine.dispose()

    def _scrub(self) -> None:
        if self._dirty_table is None:
            return
        # The deletion itself is committed: a failure here must not look like a failed deletion.
        with (
            nullcontext() if self._changes is None else self._changes.lock,
            suppress(StorageFailed, JournalBusy),
            self._translated_errors(),
        ):
            if self._changes is not None:
                self._changes.note_emptied()
            if retried(self._is_scrubbed, self._is_lost):
                self._dirty_table = None

    def _is_scrubbed(self) -> bool:
        assert self._dirty_table is not None, "there is something to scrub"
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return self._dialect.scrub(connection, self._dirty_table)

    @contextmanager
    def _translated_errors(self, *, is_reading: bool = False) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            problem = one_line(getattr(error, "orig", None) or error)
            if self._dialect.lock_message in problem:
                raise JournalBusy(problem) from error
            if not is_reading:
                failure = ConnectionLost if self._dialect.is_lost(error) else StorageFailed
                raise failure(self._name, problem) from error
            kind = FileUnreadable if self._dialect.is_unreachable(error) else FileCorrupt
            raise kind(self._name, problem) from error


def _end(connection: sql.Connection) -> None:
    """Give back a connection that has only read: if it is lost by now, nothing else is."""
    try:
        connection.close()
    except SQLAlchemyError:
        with suppress(SQLAlchemyError):
            connection.invalidate()
            connection.close()


class _RetriedReads:
    """A connection whose queries are sent again, over a new one, if the connection is lost meanwhile."""

    def __init__(self, connection: sql.Connection, is_lost: Callable[[SQLAlchemyError], bool]) -> None:
        self._connection, self._is_lost = connection, is_lost

    def execute(self, query: Any, *parameters: Any) -> Any:
        """Send a query. Its whole answer is here once this returns."""
        return retried(lambda: self._connection.execute(query, *parameters), self._can_connect_again)

    def has_table(self, name: str) -> bool:
        """Return whether a table exists."""
        return retried(lambda: sql.inspect(self._connection).has_table(name), self._can_connect_again)

    def exec_driver_sql(self, query: str, *parameters: Any) -> Any:
        """Send a query as it is. Its whole answer is here once this returns."""
        return retried(lambda: self._connection.exec_driver_sql(query, *parameters), self._can_connect_again)

    def _can_connect_again(self, error: Exception) -> bool:
        if not (isinstance(error, SQLAlchemyError) and self._is_lost(error)):
            return False
        with suppress(SQLAlchemyError):
            self._connection.rollback()  # the next query connects then
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def parse_url(text: str, *, setting: str = "cluster.journal") -> sql.URL:
    """Read the URL of a SQLite or PostgreSQL database whose driver is installed. Raises ConfigInvalid."""
    try:
        url = sql.make_url(text)
    except (ArgumentError, ValueError) as error:  # ValueError: the port is not a number
        raise ConfigInvalid(f"{setting} is not a database URL; such as postgresql+psycopg://host/name") from error
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in DIALECTS:
        raise ConfigInvalid(f"{setting}: {url.drivername} is not supported; use PostgreSQL, or SQLite")
    try:
        url.get_dialect().import_dbapi()
    except (NoSuchModuleError, ImportError) as error:
        raise ConfigInvalid(
            f"{setting}: the driver of {url.drivername} is not installed ({error}); "
            "for postgresql+psycopg: pip install 'raymu[postgres]'"
        ) from error
    return url


def check_database_url(url: sql.URL, *, setting: str = "cluster.journal") -> None:
    """Refuse the URL of a setting if it contains a password, or if the database could be damaged.

    Raises ConfigInvalid.
    """
    if url.password is not None or _PASSWORDS & url.query.keys():
        raise ConfigInvalid(
            f"{setting} has a password, which every copy of the run would hold; leave it out, and set PGPASSWORD or "
            "write it into ~/.pgpass"
        )
    DIALECTS[url.get_backend_name()].check_url(url)
