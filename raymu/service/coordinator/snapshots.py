"""Saves the state of a run now and then, so that the next process that opens it need not read all events."""

from collections.abc import Callable
from contextlib import suppress

from raymu.core.events import Event
from raymu.errors import JournalBusy, StorageFailed
from raymu.service.coordinator.session import Session
from raymu.service.history import History, open_history
from raymu.service.snapshot import ReplayCost, to_payload


class SnapshotKeeper:
    """Replaces the snapshot of a run once the events since take long to read.

    What is saved follows from the events alone: the state of the coordinator at work is not asked. A snapshot only saves
    time, so one that cannot be written is left for later.
    """

    def __init__(self, session: Session, history: History, *, workers: Callable[[], int]) -> None:
        """Save the state that a coordinator has just read, if that is due.

        Args:
            session: The run that was taken over.
            history: All events up to now, and nothing else.
            workers: Returns how many shards are repaired side by side.
        """
        self._session, self._workers = session, workers
        self._since = history.cost
        if history.needs_snapshot:
            self._save(history)

    def on_event(self, event: Event) -> None:
        """Count an event that was committed."""
        self._since.add(event)

    async def save_if_due(self, *, size: int) -> None:
        """Save the present state if the events since the last snapshot take long to read. The caller has the turn.

        Args:
            size: Number of shards and of open requests.
        """
        if self._since.is_due(size=size):
            await self._session.offload(self._renew)

    def _renew(self) -> None:
        store, journal = self._session.store, self._session.journal
        self._save(open_history(store, journal, workers=self._workers()))

    def _save(self, history: History) -> None:
        journal = self._session.journal
        with suppress(StorageFailed, JournalBusy), journal.writing() as transaction:
            snapshot = history.snapshot(transaction.last_receipt())
            transaction.save_snapshot(transaction.head, to_payload(snapshot))
        self._since = ReplayCost()
