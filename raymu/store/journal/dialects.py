"""The differences of SQLite and PostgreSQL as the journal's database, one row each."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sql
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from raymu.errors import ConfigInvalid
from raymu.store.files.database_files import read_in_use
from raymu.store.journal.network_fs import network_file_system
from raymu.store.journal.schema import postgresql_differences, sqlite_differences

SQLITE_BUSY_MS = 10_000
"""Time that SQLite waits for a lock of another connection."""
IDLE_MS = 60_000
"""When PostgreSQL ends an idle transaction: its process sleeps, and holds the run's lock."""
LOCK_MS = 90_000
"""Time that PostgreSQL waits for a lock, which is longer than an idle transaction can hold one."""
STATEMENT_MS = 300_000
CONNECT_ARGS: Mapping[str, object] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Parameters of libpq that detect a dead server within half a minute."""
SCHEMA_LOCK = 7_205_759_403
"""An arbitrary number that names PostgreSQL's lock on the creation of the tables."""
WAL_VERSION_AT, WAL_VERSION = 18, b"\x02"
"""Offset and value of the byte in a SQLite file's header that asks for a write-ahead log (sqlite.org/fileformat2.html)."""
UNREADABLE = frozenset(
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
"""SQLite's error codes that do not concern the content of the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """The differences of one kind of database."""

    settings: Callable[[bool], list[str]]
    """Return the SQL that configures a new connection. The argument is True for one that only reads."""
    scrub: Callable[[sql.Connection, str], bool]
    """Overwrite the residue of rows deleted from a table. Returns False if a reader prevents it."""
    check_url: Callable[[sql.URL], None]
    """Raise ConfigInvalid if a journal at this URL could be damaged."""
    is_unreachable: Callable[[SQLAlchemyError], bool]
    """Return whether a failed read says nothing about the content of the database."""
    schema_differences: Callable[[sql.Connection], Iterator[str]]
    """Yield a phrase for everything in the schema that raymu did not create as it is."""
    is_lost: Callable[[SQLAlchemyError], bool]
    """Return whether a connection was lost or could not be made, so that another attempt may succeed."""
    begin_snapshot: str
    """SQL after which a transaction reads all tables as they are at one moment."""
    lock_message: str
    """Part of the error message of a lock that another connection holds."""
    read_only_url: Callable[[sql.URL], sql.URL] = lambda url: url
    schema_lock: str | None = None
    """SQL that lets one transaction at a time create the tables."""
    connection_lock: str | None = None
    """SQL that returns whether this connection got the lock `name`, which it keeps until it gives it back or ends."""
    connection_unlock: str | None = None
    """SQL by which the connection gives the lock back."""
    scrubs_on_close: bool = False
    """True if committed changes can lie in a second file, which the last writer moves into the first."""
    at_rest: str | None = None
    """SQL by which the last writer leaves the database so that readers need to write nothing."""
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    is_server: bool = False
    """True if a connection is slow to make, and each query sees what is committed by then, with or without a transaction."""


def _sqlite_settings(is_read_only: bool) -> list[str]:
    durable = ["PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA secure_delete=ON"]
    # A schema that somebody else wrote may call functions: it is compared, and never trusted.
    safe = [f"PRAGMA busy_timeout={SQLITE_BUSY_MS}", "PRAGMA trusted_schema=OFF"]
    return [*safe, *(["PRAGMA query_only=ON"] if is_read_only else durable)]


def _postgresql_settings(_is_read_only: bool) -> list[str]:
    settings = (
        f"SET lock_timeout = {LOCK_MS}",
        f"SET statement_timeout = {STATEMENT_MS}",
        f"SET idle_in_transaction_session_timeout = {IDLE_MS}",
        "SET synchronous_commit = on",
    )
    return ["; ".join(settings)]  # each statement would be a round trip


def _truncate_log(connection: sql.Connection, _table: str) -> bool:
    """Move the write-ahead log, which keeps old pages, into the database file."""
    is_busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return not is_busy


def _vacuum(connection: sql.Connection, table: str) -> bool:
    """Remove the dead rows of a table."""
    connection.exec_driver_sql(f"VACUUM {table}")
    return True


def _sqlite_read_only(url: sql.URL) -> sql.URL:
    """Return the URL by which a file is read without writing anything beside it.

    A process that was killed while it opened or closed the file can leave a change half made. SQLite takes the change back
    before anything can be read, and needs to write for it.
    """
    file = Path(url.database or "")
    path = quote(str(file))  # the path can contain characters with a meaning in URIs
    is_half_changed = file.with_name(f"{file.name}-journal").exists() and os.access(file, os.W_OK)
    immutable = {"immutable": "1"} if _is_at_rest_with_log(file) and not is_half_changed else {}
    mode = "rw" if is_half_changed else "ro"
    return url.set(database=f"file:{path}").update_query_dict({"mode": mode, "uri": "true", **immutable})


def _is_at_rest_with_log(file: Path) -> bool:
    """Return whether a closed file asks for a write-ahead log that does not exist, which a reader would create.

    Version 0.1 closed its journals so. A log that exists belongs to a coordinator at work, or to an interrupted one,
    whose commits only SQLite itself can read.
    """
    log, index = (file.with_name(f"{file.name}-{ending}") for ending in ("wal", "shm"))
    try:
        beginning = read_in_use(str(file), length=WAL_VERSION_AT + 1)
        if beginning is None:
            with file.open("rb") as opened:
                beginning = opened.read(WAL_VERSION_AT + 1)
        asks_for_log = beginning[WAL_VERSION_AT:] == WAL_VERSION
        has_log = log.exists() and (log.stat().st_size > 0 or index.exists() or os.access(file.parent, os.W_OK))
    except OSError:  # SQLite says what is wrong
        return False
    return asks_for_log and not has_log


def _check_sqlite_file(url: sql.URL) -> None:
    file = Path(url.database or "")
    if not file.is_absolute():
        raise ConfigInvalid("cluster.journal: SQLite needs a file's whole path, such as sqlite:////srv/journal.sqlite")
    if kind := network_file_system(file):
        raise ConfigInvalid(
            f"{file.parent} is shared by machines ({kind}), where SQLite is not safe; set cluster.journal to "
            "postgresql://HOST/NAME or, for work on one machine, to sqlite:////PATH on a disk of its own"
        )


def _is_sqlite_unreachable(error: SQLAlchemyError) -> bool:
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # text that is not UTF-8 has no code
        return code & 0xFF in UNREADABLE
    return cause is None or isinstance(error, OperationalError | InterfaceError)


def _is_server_unreachable(error: SQLAlchemyError) -> bool:
    return getattr(error, "orig", None) is None or isinstance(error, OperationalError | InterfaceError)


def _is_connection_lost(error: SQLAlchemyError) -> bool:
    cause = getattr(error, "orig", None)
    state = str(getattr(cause, "sqlstate", None) or "")
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # Without a state the connection was not made, or broke. The others: connections, too many of them, a restart.
    return isinstance(error, OperationalError) and (not state or state.startswith(("08", "53300", "57P")))


DIALECTS: Mapping[str, Dialect] = {
    "sqlite": Dialect(
        settings=_sqlite_settings,
        scrub=_truncate_log,
        check_url=_check_sqlite_file,
        is_unreachable=_is_sqlite_unreachable,
        is_lost=lambda _error: False,
        schema_differences=sqlite_differences,
        begin_snapshot="BEGIN",
        lock_message="database is locked",
        read_only_url=_sqlite_read_only,
        scrubs_on_close=True,
        at_rest="PRAGMA journal_mode=DELETE",
    ),
    "postgresql": Dialect(
        settings=_postgresql_settings,
        scrub=_vacuum,
        check_url=lambda _url: None,
        is_unreachable=_is_server_unreachable,
        is_lost=_is_connection_lost,
        schema_differences=postgresql_differences,
        begin_snapshot="SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        lock_message="lock timeout",
        schema_lock=f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})",
        connection_lock="SELECT pg_try_advisory_lock(hashtextextended(:name, 0))",
        connection_unlock="SELECT pg_advisory_unlock(hashtextextended(:name, 0))",
        engine_options={
            "max_overflow": -1,  # each run at work keeps a connection for its lock: the server limits them, not the pool
            "use_native_hstore": False,  # for which each new connection would be searched
            "connect_args": dict(CONNECT_ARGS),
        },
        is_server=True,
    ),
}
"""Name of SQLAlchemy's backend -> dialect."""
