"""Outcomes of requests: one record and one JSON object for a request alone, and for each row of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from raymu.service.requests.lookup import FoundRequest
from raymu.service.requests.revocation import SubmissionResult
from raymu.service.requests.table import RequestRows


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The outcome of one request."""

    result: SubmissionResult
    row: int | None = None
    """Its row in the table, from 1; None if it came alone."""
    line: int | None = None
    """The line of the file in which the row ends; None if there is no such line."""
    revoked: tuple[FoundRequest, ...] = ()
    """The ids or the owner that earlier requests revoked, with these; empty for a row of a table."""
    may_leave_out: bool = False
    """Whether the request is left out, not refused, if nothing that it names is left to revoke."""

    @property
    def status(self) -> Literal["accepted", "left out", "refused"]:
        if self.result.refusal is None:
            return "accepted"
        return "left out" if self.may_leave_out and self.result.is_absent else "refused"


def outcomes_of(rows: RequestRows, results: Sequence[SubmissionResult]) -> list[Outcome]:
    """Combine the rows of a table with their results."""
    lines = rows.lines or (None,) * len(results)
    return [
        Outcome(result=result, row=row, line=line, may_leave_out=revocation.ignore_unknown)
        for result, row, line, revocation in zip(results, rows.rows, lines, rows.revocations, strict=True)
    ]


def outcome_tree(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as a JSON object of the same shape for every request."""
    result, ignored = outcome.result, outcome.result.ignored
    return {
        "row": outcome.row,
        "line": outcome.line,
        "status": outcome.status,
        "request_id": result.request_id,
        "refusal": result.refusal and str(result.refusal),
        "came_overdue": result.came_overdue,
        "earlier_requests": list(result.earlier_requests),
        "revoked": [{each.kind: each.value, "request_id": each.request_id} for each in outcome.revoked],
        "left_out": {
            "revoked": ignored.revoked if ignored else 0,
            "unknown": ignored.unknown if ignored else 0,
            "unknown_shown": list(ignored.unknown_shown) if ignored else [],
            "repeated": ignored.repeated if ignored else 0,
        },
    }
