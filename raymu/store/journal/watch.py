"""A watch on a journal: it says within microseconds whether anything was written since a moment."""

import os
import threading
from collections.abc import Hashable
from contextlib import ExitStack, suppress
from pathlib import Path
from weakref import finalize

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from raymu.errors import RaymuError
from raymu.store.journal.database import Database
from raymu.store.journal.tables import EVENTS

_of_parent: list[object] = []
"""In a forked child, the connections of its parent. Kept, because to close them may close the parent's."""


class JournalWatch:
    """A kept connection to the journal of one run. Threads share it, and a forked child opens one of its own.

    SQLite is asked for `PRAGMA data_version`, which changes with every commit of another connection, in this process and
    in others. The file is looked at too: if it was replaced or written over, the connection is opened again. PostgreSQL is
    asked for the last event.
    """

    def __init__(self, url: sql.URL, run: str) -> None:
        """Name a journal. Nothing is opened.

        Args:
            url: The database.
            run: Id of the run.
        """
        self._url, self._run = url, run
        self._file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        self._last = (
            sql.select(EVENTS.c.sequence, EVENTS.c.seal)
            .where(EVENTS.c.run == run)
            .order_by(EVENTS.c.sequence.desc())
            .limit(1)
        )
        self._start()

    def _start(self) -> None:
        self._lock, self._process = threading.Lock(), os.getpid()
        self._connection: sql.Connection | None = None
        self._closing: finalize[..., object] | None = None
        self._status: tuple[int, ...] = ()
        self._opened = 0

    @property
    def is_local(self) -> bool:
        """Whether a mark is taken from a file of this machine, and so without a wait."""
        return self._file is not None

    def mark(self) -> Hashable | None:
        """Return what stands for the journal as it is now. As long as it is the same, nothing was written in between.

        Returns:
            The mark; None if that cannot be said, so that the journal has to be read.
        """
        if self._process != os.getpid():
            _of_parent.append((self._connection, self._closing))
            opened = self._opened
            self._start()
            self._opened = opened
        with self._lock:
            try:
                return self._mark()
            except (RaymuError, SQLAlchemyError, OSError, self._driver_error):
                self._close()
                return None

    def close(self) -> None:
        """Close the connection. The next mark opens another, and is no mark of this one."""
        if self._process == os.getpid():
            with self._lock:
                self._close()

    @property
    def _driver_error(self) -> type[Exception]:
        error: type[Exception] = self._url.get_dialect().import_dbapi().Error
        return error

    def _mark(self) -> Hashable | None:
        if self._file is not None:
            status = _status(self._file)
            if status != self._status:
                self._close()
                self._status = status
        if self._connection is None and not self._open():
            return None
        assert self._connection is not None
        if self._file is None:
            return self._opened, tuple(self._connection.execute(self._last).one())
        [version] = self._connection.connection.cursor().execute("PRAGMA data_version").fetchone()
        return self._opened, version, self._status

    def _open(self) -> bool:
        """Connect. Returns False for a file that is read as if nobody could write to it."""
        database = Database(self._url, is_read_only=True)
        if database.is_immutable:
            return False
        with ExitStack() as opening:
            opening.callback(database.close)
            connection = opening.enter_context(database.reading())
            if self._file is None:  # each question sees what is committed, and no transaction stays open
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            kept = opening.pop_all()
        self._connection, self._opened = connection, self._opened + 1
        self._closing = finalize(self, _close_in, os.getpid(), kept)
        return True

    def _close(self) -> None:
        self._connection, self._status = None, ()
        if self._closing is not None:
            self._closing()
            self._closing = None


def _close_in(process: int, kept: ExitStack) -> None:
    if process == os.getpid():
        with suppress(RaymuError, SQLAlchemyError):
            kept.close()


def _status(file: Path) -> tuple[int, ...]:
    """Return what changes if a file is replaced, or written to by anybody."""
    status = os.stat(file)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
