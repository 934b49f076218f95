"""The lock of the process that works on a run. Others wait for it instead of taking the run over while it is at work.

Threads of one process wait for each other too. The system ends the lock with the process. Nothing depends on it: terms keep
every coordinator but the last from writing.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from raymu.config import Config
from raymu.errors import JournalBusy
from raymu.store.files.run_files import RunFiles
from raymu.store.journal.database import Database
from raymu.store.journal.fencing import journal_url
from raymu.store.manifest import RunManifest
from raymu.text import duration

Release = Callable[[], None]

WAIT_S = 600.0
"""How long a process waits for another that writes nothing meanwhile."""
_PAUSE_S = 0.2
_CHECK_S = 5.0
"""Time between two checks of whether the other process has written anything."""
_SAY_AFTER_S, _SAY_EVERY_S = 1.0, 30.0

_log = logging.getLogger("raymu.waiting")


@dataclass(kw_only=True, slots=True)
class _Hold:
    """A lock that this process holds."""

    release: Release
    forget: Release
    """Closes what a forked child has of the lock. The parent keeps it."""
    thread: int
    """The thread that took it first."""
    count: int = 0
    """How often it was taken, and not released."""


_held: dict[str, _Hold] = {}
"""Name of a lock that this process holds -> its hold."""
_guard = threading.Lock()
_of_parent: list[_Hold] = []
"""In a forked child, the locks of its parent. Kept, because to end a connection ends it for the parent too."""


def _forget_locks_of_parent() -> None:
    """Give a forked child no lock: it would keep those of its parent for as long as it lives."""
    global _guard
    _guard = threading.Lock()  # another thread of the parent may have had it
    for hold in _held.values():
        hold.forget()
    _of_parent.extend(_held.values())
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks_of_parent)


class ProcessLock:
    """The lock of one run. The objects of one thread share it, as does everything that they start."""

    def __init__(self, files: RunFiles, manifest: RunManifest) -> None:
        self._files, self._manifest = files, manifest
        self._name = f"{files.display_location} {manifest.run_id}"

    def try_hold(self) -> bool:
        """Take the lock, unless another process or thread has it. Raises StorageFailed."""
        with _guard:
            hold = _held.get(self._name) or self._try()
            if hold is None or hold.thread != threading.get_ident():
                return False
            hold.count += 1
            _held[self._name] = hold
            return True

    def hold(self, position: Callable[[], object]) -> None:
        """Wait for the process that has the lock, and take it. A line on the log says so.

        Args:
            position: Returns what changes whenever the other process writes.

        Raises:
            JournalBusy: The other process has written nothing for `WAIT_S`.
            StorageFailed: The database of the lock cannot be reached.
        """
        began = changed = checked = time.monotonic()
        last, say_at = position(), began + _SAY_AFTER_S
        while not self.try_hold():
            now = time.monotonic()
            if now - checked > _CHECK_S:
                checked, current = now, position()
                if current != last:
                    last, changed = current, now
            if now - changed > WAIT_S:
                raise JournalBusy(f"it has written nothing for {duration(now - changed)}")
            if now >= say_at:
                _log.warning(
                    "raymu: waiting for another raymu that is at work on this run, for %s", duration(now - began)
                )
                say_at = now + _SAY_EVERY_S
            time.sleep(_PAUSE_S)

    def release(self) -> None:
        """Let others work on the run, once every object that shares the lock has released it. Any thread may do so."""
        with _guard:
            hold = _held[self._name]
            hold.count -= 1
            if not hold.count:
                del _held[self._name]
                hold.release()

    def _try(self) -> _Hold | None:
        config = Config.parse(self._manifest.config)
        if config.cluster.journal is not None:
            database = Database(journal_url(self._files, config))
            if database.can_lock:
                release = database.try_lock(self._manifest.run_id)
                return release and _Hold(release=release, forget=_nothing, thread=threading.get_ident())
        return _lock_folder(self._files.local)


def _lock_folder(folder: Path | None) -> _Hold | None:
    """Lock a folder (flock): no file has to be written. Returns None if another process has the lock."""
    unlocked = _Hold(release=_nothing, forget=_nothing, thread=threading.get_ident())
    if folder is None:
        return unlocked
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # reading the run explains it
        return unlocked
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system without locks
        pass

    def close() -> None:
        os.close(descriptor)

    def release() -> None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that is being forked may have the descriptor too
        close()

    return _Hold(release=release, forget=close, thread=threading.get_ident())


def _nothing() -> None:
    """Release a lock that there is not."""
