"""The turn of this process to work on a run: requests are checked first, and another process at work is waited for."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime

from raymu.service.coordinator.run_state import check_requests
from raymu.service.requests.revocation import Revocation
from raymu.store.presence import Presence
from raymu.store.run import RunStore


class ProcessTurn:
    """A turn that a client takes for each call, and for the time from its opening to the end of its first call.

    Calls of several threads of one client share it. It ends with the last of them. A file of the run says who is at work.
    """

    def __init__(self, store: RunStore) -> None:
        self._store, self._lock = store, store.process_lock()
        self._guard = threading.Lock()
        self._calls, self._is_opening = 0, False

    def take(self, first: Sequence[Revocation] = ()) -> None:
        """Take the turn for an opening, unless it is taken. Another process is waited for.

        Nothing is waited for if a request of `first` is refused.

        Raises:
            RaymuError: JournalBusy if the other process writes nothing for long, StorageFailed, or what refuses a request.
        """
        with self._guard:
            if not self._is_opening:
                self._hold(first)
                self._is_opening = True

    def begin_call(self) -> None:
        """Take the turn for a call, and wait for another process. Raises JournalBusy, StorageFailed."""
        with self._guard:
            self._hold()
            if not self._calls:
                self._store.presence.announce(Presence.of_this_process())
            self._calls += 1

    def end_call(self) -> None:
        """End the turn of a call, and that of the opening."""
        with self._guard:
            was_held = self._is_held
            self._calls, self._is_opening = self._calls - 1, False
            if not self._calls:
                self._store.presence.withdraw()
            self._release(was_held)

    def leave(self) -> None:
        """End the turn of the opening, if no call has done so."""
        with self._guard:
            was_held, self._is_opening = self._is_held, False
            self._release(was_held)

    @property
    def _is_held(self) -> bool:
        return self._is_opening or self._calls > 0

    def _hold(self, first: Sequence[Revocation] = ()) -> None:
        if self._is_held:
            return
        if not self._lock.try_hold():
            if first:
                check_requests(self._store, first, workers=1, now=datetime.now(UTC))
            self._lock.hold(self._store.activity)

    def _release(self, was_held: bool) -> None:
        if was_held and not self._is_held:
            self._lock.release()
