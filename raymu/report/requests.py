"""How far a request is, and whether it keeps its due date."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from raymu.core.receipt import Receipt, RequestStage
from raymu.core.records import Exactness


class DeadlineStatus(StrEnum):
    """KEPT and MISSED: it is retrained, in time or not. The others are not yet."""

    KEPT = "kept"
    IN_TIME = "in time"
    AT_RISK = "will be late"
    OVERDUE = "overdue"
    MISSED = "exact too late"


LATE = frozenset({DeadlineStatus.AT_RISK, DeadlineStatus.OVERDUE})
"""What somebody must see to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """at: None where it has not happened; after_s: seconds since the request was received; is_skipped: never will"""

    name: str
    at: datetime | None
    after_s: float | None
    is_skipped: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestView:
    receipt: Receipt
    result: Exactness | RequestStage
    """Exactness of the published result; before, how far the request is."""
    timeliness: DeadlineStatus
    steps: tuple[Step, ...]

    @property
    def done(self) -> str:
        """The last step that has happened."""
        return [step.name for step in self.steps if step.at][-1]


def request_view(receipt: Receipt, *, late: Collection[str], now: datetime) -> RequestView:
    """late: requests that would be exact too late by the forecast"""
    return RequestView(
        receipt=receipt,
        result=(receipt.exactness if receipt.published_at else None) or receipt.stage,
        timeliness=_timeliness(receipt, late, now),
        steps=_steps(receipt),
    )


def _timeliness(receipt: Receipt, late: Collection[str], now: datetime) -> DeadlineStatus:
    if receipt.settled_at:
        return DeadlineStatus.KEPT if receipt.settled_at <= receipt.due_at else DeadlineStatus.MISSED
    if receipt.due_at < now:
        return DeadlineStatus.OVERDUE
    return DeadlineStatus.AT_RISK if receipt.request_id in late else DeadlineStatus.IN_TIME


def _steps(receipt: Receipt) -> tuple[Step, ...]:
    times = {
        "accepted": receipt.accepted_at,
        "rewound": receipt.rewound_at,
        "repaired": receipt.repaired_at if receipt.published_at else None,  # before, only some of its shards may be
        "published": receipt.published_at,
        "purged": receipt.purged_at,
        "settled": receipt.settled_at,
    }
    return tuple(
        Step(
            name=name,
            at=at,
            after_s=(at - receipt.received_at).total_seconds() if at else None,
            is_skipped=name == "rewound" and at is None and receipt.published_at is not None,
        )
        for name, at in times.items()
    )
