"""A history that is kept between calls, so that each call reads only the events since the one before."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Lock

from raymu.service.history import History, Replay, open_replay
from raymu.store.journal.event_chain import BEGINNING, ChainHead
from raymu.store.journal.journal_reader import JournalReader
from raymu.store.run import RunStore


class FollowedHistory:
    """The history of one run. Threads take turns at it."""

    def __init__(self, store: RunStore, *, is_whole: bool = False) -> None:
        """Name the run. Nothing is read.

        Args:
            store: The run.
            is_whole: Whether the receipts of requests that are done are kept too. All events are read once for them.
        """
        self._store, self._is_whole, self._lock = store, is_whole, Lock()
        self._replay: Replay | None = None
        self._head: ChainHead = BEGINNING
        self._workers: int | None = None

    @contextmanager
    def following(self, journal: JournalReader, *, workers: int | None = None) -> Iterator[tuple[ChainHead, History]]:
        """Read the events that are new, and yield the last of all and the history. Nothing may change it.

        Args:
            journal: The run's journal, open.
            workers: Shards that are repaired side by side. The default is as many as trained the run.

        Raises FileCorrupt, RunFormatTooNew.
        """
        with self._lock:
            replay, self._replay = self._replay, None  # read anew after an error
            if replay is None or not self._can_go_on(replay, journal, workers):
                if self._is_whole:
                    replay, self._head = Replay(self._store.manifest, workers=workers), BEGINNING
                else:
                    replay, self._head = open_replay(self._store, journal, workers=workers)
                self._workers = workers
            for head, event in journal.sealed_events(after=self._head):
                replay.handle(head.sequence, event)
                self._head = head
            self._replay = replay
            yield self._head, replay.history()

    @contextmanager
    def read(self) -> Iterator[History]:
        """Open the journal, read the events that are new, and yield the history. Nothing may change it.

        Raises FileCorrupt, RunFormatTooNew, RunInvalid.
        """
        with closing(self._store.journal(is_read_only=True)) as journal, self.following(journal) as (_, history):
            yield history

    def _can_go_on(self, replay: Replay, journal: JournalReader, workers: int | None) -> bool:
        """Return whether only later events are missing. A snapshot replaces a long replay, which remembers all its events."""
        if workers != self._workers:
            return False
        began_after = self._head.sequence - replay.events
        if not self._is_whole and replay.is_long and journal.has_snapshot(after=began_after):
            return False
        return journal.contains(self._head)
