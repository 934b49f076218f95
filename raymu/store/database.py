"""A SQL database as the journal needs it: commits that survive a power cut, and deleted rows that leave no trace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from raymu.errors import ConfigInvalid, FileUnreadable, RaymuError, StorageFull, in_one_line

_BUSY_MS = 10_000
"""How long SQLite waits for another's lock."""


class Database:
    """SQLite or PostgreSQL, by a SQLAlchemy URL."""

    def __init__(self, url: sql.URL, *, is_read_only: bool = False) -> None:
        """is_read_only: nothing is written, and no lock is held while others write"""
        self._is_sqlite = url.get_backend_name() == "sqlite"
        if is_read_only and self._is_sqlite:
            url = url.set(database=f"file:{url.database}").update_query_dict({"mode": "ro", "uri": "true"})
        self._engine = sql.create_engine(url, **({} if self._is_sqlite else {"pool_pre_ping": True}))
        self._is_read_only = is_read_only
        self._has_traces = False
        if self._is_sqlite:
            sql.event.listen(self._engine, "connect", _read_sqlite if is_read_only else _harden_sqlite)

    @contextmanager
    def writing(self) -> Iterator[sql.Connection]:
        """One transaction. Raises StorageFull."""
        self._retry_erasing()
        with _storage(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """Raises FileUnreadable."""
        with _storage(FileUnreadable), self._engine.connect() as connection:
            yield connection

    def erase_deleted(self, table: str) -> None:
        """Have the bytes of deleted rows overwritten. Where a reader is in the way, it is tried again at the next write.

        SQLite's write-ahead log keeps old pages until it is cut off; PostgreSQL keeps dead rows until it vacuums.
        """
        self._has_traces = True
        with _storage(), self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self._is_sqlite:
                is_busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
                self._has_traces = bool(is_busy)
            else:
                connection.exec_driver_sql(f"VACUUM {table}")
                self._has_traces = False

    def close(self) -> None:
        self._retry_erasing()
        self._engine.dispose()

    def _retry_erasing(self) -> None:
        if self._has_traces and self._is_sqlite:
            self.erase_deleted("")


def parse_url(text: str) -> sql.URL:
    """A database URL whose driver is there. Raises ConfigInvalid."""
    try:
        url = sql.make_url(text)
        url.get_dialect().import_dbapi()
    except ArgumentError as error:
        raise ConfigInvalid(
            f"cluster.journal: {text!r} is no database URL; such as postgresql+psycopg://host/name"
        ) from error
    except (NoSuchModuleError, ImportError) as error:
        raise ConfigInvalid(f"cluster.journal: the driver of {text!r} is not installed ({error})") from error
    return url


@contextmanager
def _storage(refusal: Callable[[str, str], RaymuError] = StorageFull) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise refusal("the journal", in_one_line(getattr(error, "orig", None) or error)) from error


def _harden_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", f"busy_timeout={_BUSY_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _read_sqlite(connection: Any, _record: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
