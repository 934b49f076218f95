"""What earlier coordinators, and failures, left behind in a run: destroyed where no worker may still be writing it."""

from collections.abc import Iterator
from contextlib import contextmanager

from raymu.core.board.board import RevocationBoard
from raymu.core.commands import RepairReport
from raymu.core.records import FileRef
from raymu.service.coordinator.publisher import Publisher
from raymu.service.shard.stages import find_partial
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore


class GarbageCollector:
    """Of one coordinator. It sweeps at first, and after each failure, as soon as no worker is at work.

    What is done of a remedy that broke off stays for it to go on from, and goes before another begins, which may forget more.
    """

    def __init__(self, store: RunStore, journal: Journal, publisher: Publisher, board: RevocationBoard) -> None:
        self._store, self._journal, self._publisher, self._board = store, journal, publisher, board
        self._workers = 0
        self._broken_off: set[int] = set()  # shards whose worker was lost, or still is at work
        self.is_due = True
        """Whether something may have been left behind."""

    @contextmanager
    def at_work(self, shard: int) -> Iterator[None]:
        """Around what a worker does for a shard: until its report is there, nothing but itself needs what it writes.

        Raises CoordinatorSuperseded, StorageFailed where an earlier one was lost there, and left what this one does not need.
        """
        if shard in self._broken_off:
            with self._journal.writing():
                self._store.delete_shard_garbage(self._needed(), self._commands, shard)
        self._broken_off.add(shard)
        self._workers += 1
        try:
            yield
            self._broken_off.discard(shard)
        finally:
            self._workers -= 1

    @contextmanager
    def minding(self) -> Iterator[None]:
        """Around what may leave something behind where it fails."""
        try:
            yield
        except BaseException:
            self.is_due = True
            raise

    def sweep_if_due(self) -> None:
        """What broke off and is not at work again would be lost, so that is waited for."""
        if self.is_due and not (self._workers or self._board.idle_with_work):
            self.sweep()

    def sweep(self) -> None:
        """Of the whole run, while no worker is at work. Raises CoordinatorSuperseded, StorageFailed."""
        with self._journal.writing():  # until it ends no other coordinator can take over, and need what goes here
            self._store.delete_garbage(self._needed(), self._commands)
        self.is_due = False
        self._broken_off.clear()

    @property
    def _commands(self) -> set[str]:
        """Those at work, whose reports are awaited."""
        return {command.command_id for command in self._board.running}

    def _needed(self) -> set[FileRef]:
        """Every file that is served, or that a remedy at work starts from, aims at or has reported, done or not."""
        at_work = self._board.running
        needed = {file for one in (*self._board.lineages, *self._publisher.served) for file in one.files}
        needed |= {file for command in at_work for reference in command.references for file in reference.files}
        reports = [self._store.reports.find(RepairReport, command.command_id) for command in at_work]
        needed |= {file for report in reports if report for file in report.lineage.files}
        interims = [find_partial(self._store, command.command_id) for command in at_work]
        return needed | {file for interim in interims if interim for file in interim.trained.files}
