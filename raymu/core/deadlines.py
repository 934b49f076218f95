"""Deadlines of requests that are not exact yet, and when settling must begin to meet them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from raymu.core.receipt import Receipt
from raymu.core.records import Remedy
from raymu.core.workload import ShardWorkload, makespan

_MARGIN = 2
"""Settling may take this many times its forecast and still be in time, since other repairs may run beside it."""
_LEAD = timedelta(minutes=5)
"""Settling begins at least this long before, since actors have to start and one may be lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadline:
    """A request whose result is not exact yet."""

    request_id: str
    due_at: datetime
    shards: tuple[int, ...]
    """Shards that are not retrained for it."""
    retrain_passes: float
    """Sample passes of retraining them."""
    exact_after_s: float
    """Seconds until it is exact if everything that is due until then is retrained from now on."""
    is_late: bool
    """Whether it would be exact only after it is due."""
    is_overdue: bool = False
    """Whether it is due already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SettleWindow:
    """When to settle what."""

    begin_at: datetime
    """When settling must begin."""
    due_by: datetime
    """Requests that are due by then are settled."""


def next_settle_window(owed: Sequence[Deadline], *, group_due_at: datetime | None = None) -> SettleWindow | None:
    """Return the window that begins first; None if nothing is owed, and no group waits.

    Args:
        owed: Deadlines of the requests that are not exact yet.
        group_due_at: When settling must make a waiting group visible; None if none waits.
    """
    windows = [
        SettleWindow(begin_at=_before(deadline.due_at, deadline.exact_after_s), due_by=deadline.due_at)
        for deadline in owed
    ]
    if group_due_at is not None:
        windows.append(SettleWindow(begin_at=group_due_at, due_by=group_due_at))
    return min(windows, key=lambda window: (window.begin_at, window.due_by), default=None)


def _before(due_at: datetime, exact_after_s: float) -> datetime:
    """Return when settling must begin, which takes so long. It is at once, if that was ever so long ago."""
    try:
        return due_at - _LEAD - _MARGIN * timedelta(seconds=exact_after_s)
    except OverflowError:  # a forecast beyond all dates
        return datetime.min.replace(tzinfo=due_at.tzinfo)


def deadlines(
    receipts: Sequence[Receipt],
    owed: Mapping[str, frozenset[int]],
    workloads: Mapping[int, ShardWorkload],
    *,
    now: datetime,
    workers: int,
) -> tuple[Deadline, ...]:
    """List the requests that are not exact yet, the earliest due first.

    Args:
        receipts: Receipts of the requests; those that owe nothing are left out.
        owed: For each request, the shards that are not retrained for it.
        workloads: The workload of retraining each of these shards.
        now: The present time.
        workers: Shards that are retrained side by side.
    """
    result = []
    shards_so_far: set[int] = set()
    for receipt in sorted(receipts, key=lambda receipt: (receipt.due_at, receipt.request_id)):
        shards = owed.get(receipt.request_id)
        if not shards:
            continue
        shards_so_far |= shards
        seconds = (workloads[shard].seconds(Remedy.RETRAIN) for shard in shards_so_far)
        exact_after_s = makespan(seconds, workers=workers)
        result.append(
            Deadline(
                request_id=receipt.request_id,
                due_at=receipt.due_at,
                shards=tuple(sorted(shards)),
                retrain_passes=sum(workloads[shard].passes[Remedy.RETRAIN] for shard in shards),
                exact_after_s=exact_after_s,
                is_late=exact_after_s > (receipt.due_at - now).total_seconds(),
                is_overdue=receipt.due_at < now,
            )
        )
    return tuple(result)
