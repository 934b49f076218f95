"""Settling, and taking up what was left undone: a call waits for its own, whatever else the run is at."""

from collections.abc import Callable, Set
from datetime import datetime

from raymu.core.commands import RepairReport
from raymu.core.events import SettleRequested
from raymu.service.coordinator.executor import Executor


class Resumption:
    """What an interruption, or a failure, left undone, and one call takes up."""

    def __init__(self, execution: Executor) -> None:
        """Before the call begins anything: what is followed by then, others wait for."""
        self._execution, self._others = execution, execution.at_work
        self._first = len(execution.reports)
        self._left: dict[int, frozenset[str]] = {}  # shard -> the requests that it was not past

    def begin(self) -> None:
        self._execution.resume()
        shards = self._execution.at_work - self._others
        self._left = {shard: frozenset(self._execution.board.pending_requests(shard)) for shard in shards}

    @property
    def reports(self) -> list[RepairReport]:
        """Of all remedies that came back since."""
        return self._execution.reports[self._first :]

    @property
    def is_over(self) -> bool:
        """Whether each shard that was taken up came back, and is past what waited for it."""
        returned = {report.shard for report in self.reports}
        pending = self._execution.board.pending_requests
        return self._left.keys() <= returned and all(left.isdisjoint(pending(one)) for one, left in self._left.items())


async def settle_requests(execution: Executor, request_ids: Set[str], *, clock: Callable[[], datetime]) -> None:
    """Have requests retrained wherever they were only patched, and their exact states published."""
    asked: set[int] = set()

    def unasked() -> set[int]:
        """A patch that broke off is owed for once it is finished."""
        return {one.shard for one in execution.board.lineages if not request_ids.isdisjoint(one.debts)} - asked

    def is_settled() -> bool:
        return all(execution.receipts.receipt(one).settled_at for one in request_ids)

    while not is_settled():
        if shards := unasked():
            execution.record(SettleRequested(at=clock(), shards=tuple(sorted(shards))))
            asked |= shards
        await execution.until(lambda: is_settled() or bool(unasked()))
