"""The requests on the page in groups, so that its length does not grow with their number."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC

from raymu.report.requests import DeadlineStatus, RequestView

LATEST = 50
"""Requests that are listed with their receipts, the newest first."""
OVERDUE = 50
"""Overdue requests that are listed with them, whenever they came."""
_UNSETTLED = 200
"""Other requests that are not exact yet and are listed with their receipts, in a group that is closed at first."""


_ROWS = 1_000
"""Older requests that have a row. Of those before them only the totals of each month are shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Month:
    """Older requests of one month, as rows without receipts."""

    name: str
    """As 2026-12."""
    total: int
    requests: tuple[RequestView, ...]
    """Those that have a row."""
    results: Mapping[str, int]
    """Result -> number of the others."""
    missed: int
    """How many of the others became exact too late."""

    @property
    def others(self) -> int:
        """Return the number of requests without a row."""
        return self.total - len(self.requests)


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestGroups:
    """All requests of a run, the newest first in each group."""

    total: int
    shown: tuple[RequestView, ...]
    """The latest ones, and overdue ones."""
    unsettled: tuple[RequestView, ...]
    """Others that are not exact yet, with their receipts."""
    unsettled_total: int
    """Number of all others that are not exact yet."""
    months: tuple[Month, ...]
    """All others, the latest month first."""
    listed: frozenset[str]
    """Ids of the requests that have a place on the page."""


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
    open_others = [request for request in others if not request.receipt.is_exact]
    unsettled = open_others[:_UNSETTLED]
    is_unsettled = {request.receipt.request_id for request in unsettled}
    rows = [request for request in others if request.receipt.request_id not in is_unsettled]
    has_row = {request.receipt.request_id for request in rows[:_ROWS]}
    months: dict[str, list[RequestView]] = {}
    for request in rows:
        months.setdefault(f"{request.receipt.received_at.astimezone(UTC):%Y-%m}", []).append(request)
    return RequestGroups(
        total=len(requests),
        shown=tuple(shown),
        unsettled=tuple(unsettled),
        unsettled_total=len(open_others),
        months=tuple(_month(name, members, has_row) for name, members in months.items()),
        listed=frozenset(is_shown | is_unsettled | has_row),
    )


def _month(name: str, requests: Sequence[RequestView], has_row: Collection[str]) -> Month:
    others = [request for request in requests if request.receipt.request_id not in has_row]
    return Month(
        name=name,
        total=len(requests),
        requests=tuple(request for request in requests if request.receipt.request_id in has_row),
        results=Counter(str(request.result) for request in others),
        missed=sum(request.deadline_status is DeadlineStatus.MISSED for request in others),
    )
