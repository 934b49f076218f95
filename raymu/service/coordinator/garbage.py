"""Files that failures and earlier coordinators left in a run: deleted when no worker may still be writing them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from raymu.core.board.board import RevocationBoard
from raymu.core.records import FileRef
from raymu.service.coordinator.publisher import Publisher
from raymu.service.coordinator.session import Session
from raymu.service.needed_files import needed_files
from raymu.service.shard.reports import find_partial, find_report
from raymu.store.journal.transaction import Transaction


class GarbageCollector:
    """Deletes garbage at first, and after each failure as soon as no worker is running.

    Partial results of an interrupted repair are kept for it to resume from. Before another repair of the shard, which may
    forget more samples, they are deleted.
    """

    def __init__(self, session: Session, publisher: Publisher, board: RevocationBoard) -> None:
        self._session, self._publisher, self._board = session, publisher, board
        self._workers = 0
        self._interrupted: set[int] = set()  # shards whose worker was lost, or is running
        self.is_due = True
        """True if there may be garbage."""

    @asynccontextmanager
    async def working_on(self, shard: int) -> AsyncIterator[None]:
        """Enclose one shard's work. Files that it writes are garbage until its report exists.

        Raises CoordinatorSuperseded or StorageFailed if garbage of an earlier worker cannot be deleted.
        """
        async with self._session.turn():  # no worker begins while garbage is collected
            if shard in self._interrupted:
                await self._session.offload(lambda: self._collect(shard))
            self._interrupted.add(shard)
            self._workers += 1
        try:
            yield
            self._interrupted.discard(shard)
        finally:
            self._workers -= 1

    @contextmanager
    def due_on_error(self) -> Iterator[None]:
        """Mark garbage collection as due if the context raises."""
        try:
            yield
        except BaseException:
            self.is_due = True
            raise

    async def collect_if_due(self) -> None:
        """Delete garbage once interrupted work is running again: before, its partial results would be lost.

        The caller has the turn.
        """
        if self.is_due and not (self._workers or self._board.idle_with_work):
            await self.collect()

    async def collect(self) -> None:
        """Delete the whole run's garbage while no worker is running. The caller has the turn.

        Raises CoordinatorSuperseded, StorageFailed.
        """
        await self._session.offload(self._collect)
        self.is_due = False
        self._interrupted.clear()

    def _collect(self, shard: int | None = None) -> None:
        """Delete garbage of one shard, or of the run."""
        store = self._session.store

        def work(_transaction: Transaction) -> None:
            commands = {command.command_id for command in self._board.awaited}
            if shard is None:
                store.garbage.delete(self._needed(), commands)
                if self._board.is_idle:  # otherwise the purge that follows destroys earlier generations
                    store.generations.delete_except(*self._publisher.numbers)
            else:
                store.garbage.delete_of_shard(self._needed(), commands, shard)

        self._session.journal.write(work)  # no other coordinator can take over meanwhile, and need what is deleted

    def _needed(self) -> set[FileRef]:
        """Return every file that is served, or that running work starts from, aims at or has reported."""
        store, running = self._session.store, self._board.awaited
        self._publisher.require_sound()  # nothing is deleted from a run whose generation is damaged
        needed = needed_files(store, self._board)
        reports = [find_report(store, command.command_id) for command in running]
        needed |= {file for report in reports if report for file in report.lineage.files}
        partials = [find_partial(store, command.command_id) for command in running]
        return needed | {file for partial in partials if partial for file in partial.trained.files}
