"""Engines of SQLAlchemy: one for each file, and one for all that a process opens of a server, where connecting is slow."""

import math
import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from weakref import WeakSet

import sqlalchemy as sql
from sqlalchemy.exc import InvalidatePoolError

from raymu.store.journal.dialects import DIALECTS

_lock = threading.Lock()

TRUSTED_IDLE_S = 5.0
"""How long a connection to a server may be idle before it is tried out, which is a round trip. Whoever uses one that was lost
since tries again."""


class SharedEngine:
    """An engine and its users. Its idle connections are closed with the last of them."""

    def __init__(self, engine: sql.Engine) -> None:
        self.engine = engine
        self.existing: set[str] = set()
        """Names of tables that exist."""
        self._users: WeakSet[object] = WeakSet()

    def use(self, user: object) -> None:
        """Keep idle connections until this user is done, or gone."""
        with _lock:
            self._users.add(user)

    def end_use(self, user: object) -> None:
        """Close the idle connections if nobody else uses them."""
        with _lock:
            self._users.discard(user)
            is_last = not self._users
        if is_last:
            self.existing.clear()
            self.engine.dispose()


def open_engine(
    url: sql.URL, *, is_read_only: bool = False, on_connect: Callable[[], None] = lambda: None
) -> SharedEngine:
    """Return the engine of a database. Nothing is connected.

    Args:
        url: The database.
        is_read_only: True writes nothing and holds no lock while others write
        on_connect: Called with each new connection to a file.
    """
    if DIALECTS[url.get_backend_name()].is_server:  # a reader's connections serve writers too: each costs round trips
        return _of_server(url, os.getpid())
    return SharedEngine(_new_engine(url, is_read_only=is_read_only, on_connect=on_connect))


@lru_cache(maxsize=16)
def _of_server(url: sql.URL, _process: int) -> SharedEngine:
    """Keep an engine of this process: a forked child must not use the connections of its parent."""
    engine = _new_engine(url, is_read_only=False, on_connect=lambda: None)

    def note(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    def try_out(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("idle_since", math.inf) > TRUSTED_IDLE_S:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise InvalidatePoolError from error  # the others are as old

    sql.event.listen(engine, "checkin", note)
    sql.event.listen(engine, "checkout", try_out)
    return SharedEngine(engine)


def _new_engine(url: sql.URL, *, is_read_only: bool, on_connect: Callable[[], None]) -> sql.Engine:
    dialect = DIALECTS[url.get_backend_name()]
    engine = sql.create_engine(url, **dialect.engine_options)

    def configure(connection: Any, _record: object) -> None:
        on_connect()
        if dialect.is_server:
            connection.autocommit = (
                True  # a rollback would undo the settings, and a transaction is two more round trips
            )
        cursor = connection.cursor()
        for setting in dialect.settings(is_read_only):
            cursor.execute(setting)
        cursor.close()
        if dialect.is_server:
            connection.autocommit = False
        else:
            connection.commit()

    sql.event.listen(engine, "connect", configure)
    return engine
