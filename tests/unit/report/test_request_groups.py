"""The groups of requests on the page: what is urgent is always listed, and the rest does not make it longer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from raymu.core.receipt import Receipt
from raymu.core.records import Exactness
from raymu.report.request_groups import LATEST, OVERDUE, request_groups
from raymu.report.requests import RequestView, request_view

NOW = datetime(2030, 6, 15, tzinfo=UTC)


def view(number: int, *, is_exact: bool = True, due_days: float = 30.0) -> RequestView:
    """The request that came `number` days ago."""
    at = NOW - timedelta(days=number)
    receipt = Receipt(
        request_id=f"r{number:04d}",
        hashes=(),
        strategy="sisa",
        boundary="0.35",
        samples=1,
        received_at=at,
        due_at=NOW + timedelta(days=due_days),
        accepted_at=at,
        generation_before=1,
        manifest_before="",
        published_at=at,
        exactness=Exactness.EXACT if is_exact else Exactness.APPROXIMATE,
        settled_at=at if is_exact else None,
    )
    return request_view(replace(receipt), late=(), now=NOW)


def test_the_latest_requests_are_listed_and_older_ones_are_in_months() -> None:
    groups = request_groups([view(number) for number in range(200)])
    assert groups.total == 200
    assert [request.receipt.request_id for request in groups.shown] == [f"r{number:04d}" for number in range(LATEST)]
    assert groups.unsettled == ()
    assert [month.name for month in groups.months] == ["2030-04", "2030-03", "2030-02", "2030-01", "2029-12", "2029-11"]
    assert sum(len(month.requests) for month in groups.months) == 200 - LATEST


def test_what_is_overdue_is_listed_whenever_it_came_and_other_debt_is_at_hand() -> None:
    requests = [view(number) for number in range(300)]
    requests[250] = view(250, is_exact=False, due_days=-1.0)
    requests[251] = view(251, is_exact=False)
    groups = request_groups(requests)
    assert groups.shown[-1].receipt.request_id == "r0250"
    assert [request.receipt.request_id for request in groups.unsettled] == ["r0251"]


def test_even_if_everything_is_overdue_the_list_is_bounded_and_nothing_is_lost() -> None:
    groups = request_groups([view(number, is_exact=False, due_days=-1.0 - number) for number in range(600)])
    assert len(groups.shown) == LATEST + OVERDUE
    assert groups.shown[-1].receipt.request_id == "r0599", "the one that is due the longest"
    months = sum(len(month.requests) for month in groups.months)
    assert len(groups.shown) + len(groups.unsettled) + months == groups.total == 600
