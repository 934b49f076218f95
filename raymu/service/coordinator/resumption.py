"""Settling, and resuming interrupted work. A call waits for the repairs that it started, not for those of other calls."""

from collections.abc import Set

from raymu.core.commands import RepairReport
from raymu.core.events import SettleRequested
from raymu.core.records import Exactness
from raymu.service.coordinator.executor import Executor
from raymu.service.coordinator.session import Session


class Resumption:
    """The repairs that one call starts."""

    def __init__(self, executor: Executor) -> None:
        """Construct before the call starts anything."""
        self._executor = executor
        self._first = len(executor.reports)
        self._pending: dict[int, frozenset[str]] = {}  # shard -> the requests that it has not been repaired for

    async def begin(self, started: frozenset[int] = frozenset()) -> None:
        """Resume interrupted work. started: shards whose repair the call has started already"""
        shards = started | await self._executor.resume()
        self._pending = {shard: frozenset(self._executor.board.pending_requests(shard)) for shard in shards}

    @property
    def reports(self) -> list[RepairReport]:
        """Reports of all repairs that finished since the call began."""
        return self._executor.reports[self._first :]

    @property
    def is_done(self) -> bool:
        """True if each of the shards was repaired, for every request that was waiting for it."""
        returned = {report.shard for report in self.reports}
        pending = self._executor.board.pending_requests
        is_past = all(request_ids.isdisjoint(pending(shard)) for shard, request_ids in self._pending.items())
        return self._pending.keys() <= returned and is_past


async def settle_requests(executor: Executor, session: Session, request_ids: Set[str]) -> None:
    """Retrain every shard that was only patched for these requests, and publish the exact states."""
    requested: set[int] = set()

    def unrequested() -> set[int]:
        """Return the shards that are still to settle. An interrupted patch adds its shard when it ends."""
        lineages = executor.board.lineages
        return {lineage.shard for lineage in lineages if not request_ids.isdisjoint(lineage.debts)} - requested

    def is_settled() -> bool:
        return all(map(executor.receipts.is_settled, request_ids))

    while not is_settled():
        if shards := unrequested():
            await executor.record(SettleRequested(at=session.clock(), shards=tuple(sorted(shards))))
            requested |= shards
        await executor.wait_until(lambda: is_settled() or bool(unrequested()))


async def retrain_inconclusive(executor: Executor, session: Session) -> None:
    """Train the inconclusive shards again from their first stage, in the class of the workers."""
    lineages = executor.board.lineages
    anew = tuple(sorted(each.shard for each in lineages if each.exactness is Exactness.INCONCLUSIVE))
    if anew:
        await executor.record(SettleRequested(at=session.clock(), shards=(), anew=anew))
        await executor.wait_until(lambda: executor.board.restarting.isdisjoint(anew))
