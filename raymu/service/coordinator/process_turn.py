"""The turn of this process to work on a run: requests are checked first, and another process at work is waited for."""

from collections.abc import Sequence
from datetime import UTC, datetime

from raymu.service.coordinator.run_state import check_requests
from raymu.service.requests.revocation import Revocation
from raymu.store.run import RunStore


class ProcessTurn:
    """A turn that a client takes for each call, and for the time from its opening to the end of its first call."""

    def __init__(self, store: RunStore) -> None:
        self._store, self._lock = store, store.process_lock()
        self._is_mine = False

    def take(self, first: Sequence[Revocation] = ()) -> None:
        """Take the turn, unless it is taken. Wait for another process, unless a request of `first` is refused.

        Raises:
            RaymuError: JournalBusy if the other process writes nothing for long, StorageFailed, or what refuses a request.
        """
        if self._is_mine:
            return
        if not self._lock.try_hold():
            if first:
                check_requests(self._store, first, workers=1, now=datetime.now(UTC))
            self._lock.hold(self._store.position)
        self._is_mine = True

    def leave(self) -> None:
        """Let other processes have their turn."""
        if self._is_mine:
            self._is_mine = False
            self._lock.release()
