"""The requests on the page in groups, so that its length does not grow with their number."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC

from raymu.report.requests import DeadlineStatus, RequestView

LATEST = 50
"""Requests that are listed with their receipts, the newest first."""
OVERDUE = 50
"""Overdue requests that are listed with them, whenever they came."""
_UNSETTLED = 200
"""Other requests that are not exact yet and are listed with their receipts, in a group that is closed at first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Month:
    """Older requests of one month, as rows without receipts."""

    name: str
    """As 2026-12."""
    requests: tuple[RequestView, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestGroups:
    """All requests of a run, the newest first in each group."""

    total: int
    shown: tuple[RequestView, ...]
    """The latest ones, and overdue ones."""
    unsettled: tuple[RequestView, ...]
    """Others that are not exact yet, with their receipts."""
    months: tuple[Month, ...]
    """All others, the latest month first."""


def request_groups(requests: Sequence[RequestView]) -> RequestGroups:
    """Group requests.

    Args:
        requests: All of them, the newest first.
    """
    overdue = [request for request in requests if request.deadline_status is DeadlineStatus.OVERDUE]
    first = sorted(overdue, key=lambda request: request.receipt.due_at)[:OVERDUE]
    is_shown = {request.receipt.request_id for request in (*requests[:LATEST], *first)}
    shown = [request for request in requests if request.receipt.request_id in is_shown]
    others = [request for request in requests if request.receipt.request_id not in is_shown]
    unsettled = [request for request in others if not request.receipt.is_exact][:_UNSETTLED]
    is_unsettled = {request.receipt.request_id for request in unsettled}
    months: dict[str, list[RequestView]] = {}
    for request in others:
        if request.receipt.request_id not in is_unsettled:
            months.setdefault(f"{request.receipt.received_at.astimezone(UTC):%Y-%m}", []).append(request)
    return RequestGroups(
        total=len(requests),
        shown=tuple(shown),
        unsettled=tuple(unsettled),
        months=tuple(Month(name=name, requests=tuple(members)) for name, members in months.items()),
    )
