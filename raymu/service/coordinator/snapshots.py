"""Saves the state of a run now and then, so that the next process that opens it need not read all events."""

from collections.abc import Callable
from contextlib import suppress

from raymu.errors import JournalBusy, StorageFailed
from raymu.service.coordinator.session import Session
from raymu.service.history import History, open_history
from raymu.service.snapshot import is_due, to_payload


class SnapshotKeeper:
    """Replaces the snapshot of a run once enough events have come since.

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
        self._shards = session.store.config.partition.shards
        self._saved = session.journal.written.sequence - history.events
        if is_due(history.events, shards=self._shards):
            self._save(history)

    async def save_if_due(self) -> None:
        """Save the present state if enough events have come. The caller has the turn."""
        if is_due(self._session.journal.written.sequence - self._saved, shards=self._shards):
            await self._session.offload(self._renew)

    def _renew(self) -> None:
        store, journal = self._session.store, self._session.journal
        self._save(open_history(store, journal, workers=self._workers()))

    def _save(self, history: History) -> None:
        journal = self._session.journal
        with suppress(StorageFailed, JournalBusy), journal.writing() as transaction:
            snapshot = history.snapshot(transaction.last_receipt())
            transaction.save_snapshot(transaction.head, to_payload(snapshot))
        self._saved = journal.written.sequence
