"""Records of runs with many requests, for the length of pages: one real request, repeated under other ids and times."""

from dataclasses import replace
from datetime import timedelta

from raymu.core.events import ShardRepaired
from raymu.report.load import RunRecord


def with_many_requests(record: RunRecord, count: int) -> RunRecord:
    """Return a record with so many requests over 600 days: a third of them late, and each tenth not exact yet."""
    [exact] = [receipt for receipt in record.receipts if receipt.due_met is False and receipt.is_exact]
    open_one = next(receipt for receipt in record.receipts if receipt.published_at and not receipt.is_exact)
    receipts = tuple(
        replace(
            exact if number % 10 else open_one,
            request_id=f"20301201T000000-{number:012x}",
            received_at=exact.received_at - timedelta(days=600 * (count - number) / count),
            due_at=exact.due_at if number % 3 else exact.settled_at or exact.due_at,
        )
        for number in range(count)
    )
    [owed, *_] = record.status.deadlines
    deadlines = tuple(replace(owed, request_id=receipt.request_id) for receipt in receipts if not receipt.is_exact)
    repairs = [event for event in record.events if isinstance(event, ShardRepaired)]
    many = tuple(
        replace(repairs[0], report=replace(repairs[0].report, command_id=f"c{number}")) for number in range(count)
    )
    evaluations = tuple(replace(record.evaluations[0], number=number + 1) for number in range(count))
    return replace(
        record,
        receipts=receipts,
        events=(*record.events, *many),
        evaluations=evaluations,
        status=replace(record.status, deadlines=deadlines),
    )
