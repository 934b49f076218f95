"""What is owed to requests, when it is due, and whether settling would be in time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from raymu.core.receipt import Receipt
from raymu.core.records import Remedy
from raymu.core.workload import ShardWorkload, makespan

_MARGIN = 2
"""How many times its forecast settling may take and still be in time: others may be at work beside it."""
_LEAD = timedelta(minutes=5)
"""And so long before, at least: actors have to start, and one may be lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadline:
    """A request whose result is not exact yet.

    shards: those that still owe it; retrain_passes: what retraining them takes
    exact_after_s: seconds until it is exact, if all that is due until then is retrained from now on
    """

    request_id: str
    due_at: datetime
    shards: tuple[int, ...]
    retrain_passes: float
    exact_after_s: float
    is_late: bool
    """Whether that passes the due date."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SettleWindow:
    """begin_at: when settling has to begin for all to be exact in time; due_by: of what is settled then"""

    begin_at: datetime
    due_by: datetime


def next_settle_window(owed: Sequence[Deadline]) -> SettleWindow | None:
    """owed: the earliest due first. returns: None where nothing is owed"""
    found = [
        SettleWindow(begin_at=one.due_at - _LEAD - _MARGIN * timedelta(seconds=one.exact_after_s), due_by=one.due_at)
        for one in owed
    ]
    return min(found, key=lambda one: (one.begin_at, one.due_by), default=None)


def deadlines(
    receipts: Sequence[Receipt],
    owed: Mapping[str, frozenset[int]],
    workloads: Mapping[int, ShardWorkload],
    *,
    now: datetime,
    workers: int,
) -> tuple[Deadline, ...]:
    """The earliest due first. owed: request -> shards that owe it; workloads: of retraining each of those"""
    found = []
    begun: set[int] = set()
    for receipt in sorted(receipts, key=lambda one: (one.due_at, one.request_id)):
        shards = owed.get(receipt.request_id)
        if not shards:
            continue
        begun |= shards
        exact_after_s = makespan((workloads[shard].seconds(Remedy.RETRAIN) for shard in begun), workers=workers)
        found.append(
            Deadline(
                request_id=receipt.request_id,
                due_at=receipt.due_at,
                shards=tuple(sorted(shards)),
                retrain_passes=sum(workloads[shard].passes[Remedy.RETRAIN] for shard in shards),
                exact_after_s=exact_after_s,
                is_late=now + timedelta(seconds=exact_after_s) > receipt.due_at,
            )
        )
    return tuple(found)
