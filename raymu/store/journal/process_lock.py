"""The lock of the process that works on a run. Others wait for it instead of taking the run over while it is at work.

The system ends the lock with the process. Nothing depends on it: terms keep every coordinator but the last from writing.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
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

_log = logging.getLogger(__name__)
_held: dict[str, tuple[int, Release]] = {}
"""Name of a lock that this process holds -> how often, and what releases it."""
_guard = threading.Lock()


class ProcessLock:
    """The lock of one run. The objects of one process share it."""

    def __init__(self, files: RunFiles, manifest: RunManifest) -> None:
        self._files, self._manifest = files, manifest
        self._name = f"{files.display_location} {manifest.run_id}"

    def try_hold(self) -> bool:
        """Take the lock, unless another process has it. Raises StorageFailed."""
        with _guard:
            count, release = _held.get(self._name, (0, None))
            release = release or self._try()
            if release is None:
                return False
            _held[self._name] = (count + 1, release)
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
        """Let another process work on the run, once every object of this process has released the lock."""
        with _guard:
            count, release = _held.pop(self._name)
            if count > 1:
                _held[self._name] = (count - 1, release)
            else:
                release()

    def _try(self) -> Release | None:
        config = Config.parse(self._manifest.config)
        if config.cluster.journal is not None:
            database = Database(journal_url(self._files, config))
            if database.can_lock:
                return database.try_lock(self._manifest.run_id)
        return _lock_folder(self._files.local) if self._files.local else _nothing


def _lock_folder(folder: Path) -> Release | None:
    """Lock a folder (flock): no file has to be written. Returns None if another process has the lock."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # reading the run explains it
        return _nothing
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system without locks
        pass
    return lambda: os.close(descriptor)


def _nothing() -> None:
    """Release a lock that there is not."""
