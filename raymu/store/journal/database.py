"""A SQL database as the journal needs it: commits that survive a power cut, and deleted rows that leave no trace."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError, SQLAlchemyError

from raymu.errors import ConfigInvalid, FileCorrupt, FileUnreadable, JournalBusy, StorageFailed
from raymu.store.journal.network_fs import network_file_system
from raymu.text import one_line

_BUSY_MS = 10_000
"""How long SQLite waits for another's lock."""
_IDLE_MS = 60_000
"""When PostgreSQL gives up a transaction that asks for nothing more: its process sleeps, and holds the run's lock."""
_LOCK_MS = 90_000
"""How long PostgreSQL waits for another's lock: longer than any sleeper holds one."""
_STATEMENT_MS = 300_000
_CONNECT: dict[str, object] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Of libpq: a server that is gone is noticed within half a minute."""
_PASSWORDS = frozenset({"password", "sslpassword"})
"""Parameters of libpq that a URL may have."""
_OUT_OF_REACH = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""SQLite's errors that say nothing of what is in the file."""
_CREATING = 7_205_759_403
"""An arbitrary name for PostgreSQL's lock on the creation of the tables."""


class Database:
    """SQLite or PostgreSQL, by a SQLAlchemy URL."""

    def __init__(self, url: sql.URL, *, is_read_only: bool = False) -> None:
        """is_read_only: nothing is written, and no lock is held while others write"""
        self._is_sqlite = url.get_backend_name() == "sqlite"
        if is_read_only and self._is_sqlite:
            path = quote(url.database or "")  # what a URI gives a meaning to may be in a path
            url = url.set(database=f"file:{path}").update_query_dict({"mode": "ro", "uri": "true"})
        self._engine = sql.create_engine(
            url, **({} if self._is_sqlite else {"pool_pre_ping": True, "connect_args": _CONNECT})
        )
        self._dirty_table: str | None = None  # a table whose deleted rows may still be read in the files
        self._has_written = False

        def prepare(connection: Any, _record: object) -> None:
            cursor = connection.cursor()
            for setting in _settings(is_sqlite=self._is_sqlite, is_read_only=is_read_only):
                cursor.execute(setting)
            cursor.close()
            connection.commit()  # a first rollback would undo what PostgreSQL was told

        sql.event.listen(self._engine, "connect", prepare)

    def create(self, tables: sql.MetaData) -> None:
        """Make the tables that are missing, also while others do. Raises StorageFailed."""
        with self.writing() as connection:
            if not self._is_sqlite:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CREATING})")
            tables.create_all(connection)

    @contextmanager
    def writing(self) -> Iterator[sql.Connection]:
        """One transaction. Raises JournalBusy, StorageFailed."""
        self._scrub()
        with _storage(), self._engine.begin() as connection:
            yield connection
            self._has_written = True

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """Raises JournalBusy, FileUnreadable; FileCorrupt where what is there is no journal, or is damaged."""
        with _storage(is_reading=True), self._engine.connect() as connection:
            yield connection

    def scrub_deleted(self, table: str) -> None:
        """Have the bytes of deleted rows overwritten, now or, where a reader or a failure is in the way, at the next write.

        SQLite's write-ahead log keeps old pages until it is cut off; PostgreSQL keeps dead rows until it vacuums.
        """
        self._dirty_table = table
        self._scrub()

    def close(self) -> None:
        """After it, SQLite's file is whole by itself, also where another process has it open."""
        if self._is_sqlite and self._has_written:
            self._dirty_table = self._dirty_table or ""
        self._scrub()
        self._engine.dispose()

    def _scrub(self) -> None:
        if self._dirty_table is None:
            return
        with (
            suppress(
                StorageFailed, JournalBusy
            ),  # what deleted the rows is committed: it must not look as if it had failed
            _storage(),
            self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            if self._is_sqlite:
                is_busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            else:
                connection.exec_driver_sql(f"VACUUM {self._dirty_table}")
                is_busy = False
            if not is_busy:
                self._dirty_table = None


def parse_url(text: str) -> sql.URL:
    """A URL of SQLite or PostgreSQL whose driver is there. Raises ConfigInvalid."""
    try:
        url = sql.make_url(text)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise ConfigInvalid("cluster.journal is no database URL; such as postgresql+psycopg://host/name") from error
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigInvalid(
            f"cluster.journal: {url.drivername} is no database for a journal; use PostgreSQL, or SQLite"
        )
    try:
        url.get_dialect().import_dbapi()
    except (NoSuchModuleError, ImportError) as error:
        raise ConfigInvalid(
            f"cluster.journal: the driver of {url.drivername} is not installed ({error}); "
            "for postgresql+psycopg: pip install 'raymu[postgres]'"
        ) from error
    return url


def check_journal_url(url: sql.URL) -> None:
    """For the journal of a new run. Raises ConfigInvalid where it would tell a password, or could be torn."""
    if url.password is not None or _PASSWORDS & url.query.keys():
        raise ConfigInvalid(
            "cluster.journal has a password, which every copy of the run would hold; leave it out, and set PGPASSWORD or "
            "write it into ~/.pgpass"
        )
    if url.get_backend_name() != "sqlite":
        return
    file = Path(url.database or "")
    if not file.is_absolute():
        raise ConfigInvalid("cluster.journal: SQLite needs a file's whole path, such as sqlite:////srv/journal.sqlite")
    if kind := network_file_system(file):
        raise ConfigInvalid(
            f"{file.parent} is shared by machines ({kind}), where SQLite is not safe; set cluster.journal to "
            "postgresql://HOST/NAME or, for work on one machine, to sqlite:////PATH on a disk of its own"
        )


@contextmanager
def _storage(*, is_reading: bool = False) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        problem = one_line(getattr(error, "orig", None) or error)
        is_held = "database is locked" in problem or "lock timeout" in problem
        if is_held:
            raise JournalBusy(problem) from error
        if not is_reading:
            raise StorageFailed("the journal", problem) from error
        raise (FileUnreadable if _is_out_of_reach(error) else FileCorrupt)("the journal", problem) from error


def _is_out_of_reach(error: SQLAlchemyError) -> bool:
    """Whether a database could not be asked; else it has answered with something that is no journal."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # text that is no UTF-8 has none
        return code & 0xFF in _OUT_OF_REACH
    return cause is None or isinstance(error, OperationalError | InterfaceError)


def _settings(*, is_sqlite: bool, is_read_only: bool) -> list[str]:
    """What a connection is told before anything else."""
    if is_sqlite:
        durable = ["PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA secure_delete=ON"]
        return [f"PRAGMA busy_timeout={_BUSY_MS}", *([] if is_read_only else durable)]
    return [
        f"SET lock_timeout = {_LOCK_MS}",
        f"SET statement_timeout = {_STATEMENT_MS}",
        f"SET idle_in_transaction_session_timeout = {_IDLE_MS}",
        "SET default_transaction_read_only = on" if is_read_only else "SET synchronous_commit = on",
    ]
