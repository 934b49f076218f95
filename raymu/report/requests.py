"""Requests on the page: how far each is, and whether it meets its due date."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from raymu.core.receipt import Receipt, RequestStage
from raymu.core.records import Exactness
from raymu.report.load import IssuedReceipt
from raymu.service.waiting_group import GroupStatus, GroupWait
from raymu.text import plural


class DeadlineStatus(StrEnum):
    """Whether a request meets its due date. KEPT and MISSED are final: the request is settled."""

    KEPT = "kept"
    IN_TIME = "in time"
    AT_RISK = "will be late"
    OVERDUE = "overdue"
    MISSED = "exact too late"


LATE = frozenset({DeadlineStatus.AT_RISK, DeadlineStatus.OVERDUE})
"""States of deadlines that require an action."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of a request, from acceptance to settlement."""

    name: str
    at: datetime | None
    """None if the step has not happened."""
    after_s: float | None
    """Seconds since the request was received."""
    is_skipped: bool
    """Whether the step will never happen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatedEvent:
    """Something that happened to a request, or is due."""

    at: datetime
    name: str
    note: str
    after_s: float | None
    """Seconds since the request was received; None for that itself, and for its due date."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestView:
    """One request as the page shows it."""

    receipt: Receipt
    result: Exactness | RequestStage
    """Exactness of the published result; before that, how far the request is."""
    deadline_status: DeadlineStatus
    steps: tuple[Step, ...]
    issued: IssuedReceipt | None = None
    """The latest receipt as it was issued; None before the first."""
    group: GroupWait | None = None
    """What its group waits for, if it is repaired and not visible yet."""

    @property
    def last_step(self) -> str:
        """Return the name of the last step that has happened."""
        return [step.name for step in self.steps if step.at][-1]


def request_view(
    receipt: Receipt,
    *,
    late: Collection[str],
    now: datetime,
    issued: IssuedReceipt | None = None,
    group: GroupStatus | None = None,
) -> RequestView:
    """Describe one request.

    Args:
        receipt: Its receipt.
        late: The ids of requests that will be exact too late by the forecast.
        now: When the page is written.
        issued: The receipt as it was issued.
        group: The group that waits to become visible; None if none does.
    """
    return RequestView(
        group=None if group is None else group.wait_of(receipt),
        issued=issued,
        receipt=receipt,
        result=(receipt.exactness if receipt.published_at else None) or receipt.stage,
        deadline_status=deadline_status_of(receipt, late, now),
        steps=_steps(receipt),
    )


def deadline_status_of(receipt: Receipt, late: Collection[str], now: datetime) -> DeadlineStatus:
    """Return whether a request meets its due date.

    Args:
        receipt: Its receipt.
        late: The ids of requests that will be exact too late by the forecast.
        now: When the page is written.
    """
    if receipt.settled_at and receipt.is_exact:
        return DeadlineStatus.KEPT if receipt.settled_at <= receipt.due_at else DeadlineStatus.MISSED
    if receipt.due_at < now:
        return DeadlineStatus.OVERDUE
    return DeadlineStatus.AT_RISK if receipt.request_id in late else DeadlineStatus.IN_TIME


def _steps(receipt: Receipt) -> tuple[Step, ...]:
    times = {
        "accepted": receipt.accepted_at,
        "rewound": receipt.rewound_at,
        "repaired": receipt.repaired_at if receipt.published_at else None,  # until then, some shards may be unrepaired
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


def dates_of(request: RequestView) -> list[tuple[date, list[DatedEvent]]]:
    """Return what happened to a request, and when it is due: for each day in UTC, in the order of time."""
    receipt = request.receipt
    repairs = len(receipt.shards)
    notes = {
        "rewound": "predictions come from states that never saw the samples",
        "repaired": f"{plural(repairs, 'shard')} of it" if repairs else "",
        "published": f"generation {receipt.generation_after}",
        "purged": f"{plural(receipt.purged_rows, 'row')} and {plural(receipt.purged_files, 'file')} destroyed",
        "settled": "every shard is retrained for it",
    }
    events = [
        DatedEvent(at=receipt.received_at, name="received", note=plural(receipt.samples, "sample"), after_s=None),
        DatedEvent(at=receipt.due_at, name="due", note="", after_s=None),
        *(
            DatedEvent(at=step.at, name=step.name, note=notes.get(step.name, ""), after_s=step.after_s)
            for step in request.steps
            if step.at
        ),
    ]
    days: dict[date, list[DatedEvent]] = {}
    for event in sorted(events, key=lambda event: event.at):
        days.setdefault(event.at.astimezone(UTC).date(), []).append(event)
    return list(days.items())
