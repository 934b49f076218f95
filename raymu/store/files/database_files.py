"""Reading the bytes of SQLite's files in a process that also has them open through SQLite.

POSIX ends all locks that a process has on a file as soon as the process closes any descriptor of it. SQLite then loses
its locks without knowing, and another process may delete the log that this one still writes to
(sqlite.org/howtocorrupt.html, section 2.2). So a descriptor stays open for as long as SQLite may have locks.
"""

import os
import threading
from collections import Counter
from contextlib import suppress

_ENDINGS = ("-wal", "-shm", "-journal")
_guard = threading.Lock()
_users: Counter[str] = Counter()
"""Path of a database -> objects of this process that may have connections to it."""
_kept: dict[str, dict[tuple[int, int], int]] = {}
"""Path of a database -> descriptors of its files, by device and inode: a file may be replaced meanwhile."""


def _unlock() -> None:
    """Give a forked child a guard of its own: another thread of the parent may have had that of the parent."""
    global _guard
    _guard = threading.Lock()


os.register_at_fork(after_in_child=_unlock)


def begin_use(database: str) -> None:
    """Say that SQLite may open a database from now on."""
    with _guard:
        _users[os.path.abspath(database)] += 1


def end_use(database: str) -> None:
    """Say that one user of a database has closed all of its connections."""
    path = os.path.abspath(database)
    with _guard:
        _users[path] -= 1
        if _users[path] <= 0:
            del _users[path]
            for descriptor in _kept.pop(path, {}).values():
                with suppress(OSError):
                    os.close(descriptor)


def read_in_use(path: str, *, offset: int = 0, length: int | None = None) -> bytes | None:
    """Return bytes of a file of a database that is in use; None if it is not, so that any way to read it will do.

    Args:
        path: The file.
        offset: Where to begin.
        length: Number of bytes; None for all up to the end.

    Raises OSError.
    """
    database = os.path.abspath(path)
    for ending in _ENDINGS:
        database = database.removesuffix(ending)
    with _guard:
        if database not in _users:
            return None
        descriptors, status = _kept.setdefault(database, {}), os.stat(path)
        inode = status.st_dev, status.st_ino
        if inode not in descriptors:
            descriptors[inode] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(descriptors[inode]).st_size
        return os.pread(descriptors[inode], size - offset if length is None else length, offset)
