"""One deletion for all runs of a service: sent to each, and what each answered."""

import asyncio
from collections.abc import Mapping, Sequence

from raymu.errors import (
    ConnectionLost,
    CoordinatorLost,
    CoordinatorSuperseded,
    DataInvalid,
    FileUnreadable,
    IdempotencyConflict,
    JournalBusy,
    RaymuError,
    RequestInvalid,
    SamplesRevoked,
    SeveralFaults,
    StorageFailed,
    UnknownOwner,
    UnknownSamples,
)
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.text import one_line
from raymu.web.documents import RunOutcome
from raymu.web.served_run import ServedRun

_STATUSES: Mapping[type[RaymuError], int] = {
    IdempotencyConflict: 409,
    UnknownSamples: 404,
    UnknownOwner: 404,
    RequestInvalid: 422,
    SamplesRevoked: 422,
    DataInvalid: 422,
    StorageFailed: 503,
    ConnectionLost: 503,
    FileUnreadable: 503,
    JournalBusy: 503,
    CoordinatorLost: 503,
    CoordinatorSuperseded: 503,
}
"""HTTP statuses of errors; others are 503 too: the service cannot answer now."""


async def submit(served_runs: Sequence[ServedRun], revocation: Revocation) -> list[SubmissionResult | BaseException]:
    """Send a deletion to runs, and return what each answered.

    Runs that know its key answer first. If the key belongs to another deletion there, the others are not asked.
    """
    knowing: list[ServedRun] = []
    if revocation.key is not None and len(served_runs) > 1:
        are_known = await asyncio.gather(
            *(asyncio.to_thread(_has_key, served, revocation.key) for served in served_runs)
        )
        knowing = [served for served, is_known in zip(served_runs, are_known, strict=True) if is_known]
    results: dict[str, SubmissionResult | BaseException] = {}
    for group in (knowing, [served for served in served_runs if served not in knowing]):
        answers = await asyncio.gather(*(served.submit(revocation) for served in group), return_exceptions=True)
        results.update(zip((served.name for served in group), answers, strict=True))
        for answer in answers:
            if isinstance(answer, SubmissionResult) and isinstance(answer.refusal, IdempotencyConflict):
                raise answer.refusal
    return [results[served.name] for served in served_runs]


def _has_key(served: ServedRun, key: str) -> bool:
    return any(request.request_id for request in served.run.find_requests(keys=[key]))


def outcome_of(run: str, result: SubmissionResult | BaseException) -> RunOutcome:
    if isinstance(result, BaseException):
        if not isinstance(result, RaymuError):
            raise result
        return RunOutcome(run=run, status="failed", problem=one_line(result))
    if result.request_id is not None:
        return RunOutcome(
            run=run,
            status="accepted",
            request_id=result.request_id,
            earlier_requests=list(result.earlier_requests),
            location=f"/v1/requests/{result.request_id}",
        )
    problem, earlier = one_line(result.refusal or ""), list(result.earlier_requests)
    if isinstance(result.refusal, SamplesRevoked):
        location = f"/v1/requests/{earlier[0]}" if len(earlier) == 1 else None
        return RunOutcome(
            run=run, status="revoked before", earlier_requests=earlier, location=location, problem=problem
        )
    if isinstance(result.refusal, UnknownSamples | UnknownOwner):
        return RunOutcome(run=run, status="not held", problem=problem)
    return RunOutcome(run=run, status="refused", earlier_requests=earlier, problem=problem)


def status_of(outcomes: list[RunOutcome], results: list[SubmissionResult | BaseException]) -> int:
    """Return the HTTP status of a deletion. A run that failed has to be asked again, whatever the others answered."""
    statuses = {outcome.status for outcome in outcomes}
    errors = [result for result in results if isinstance(result, RaymuError)]
    if errors:
        return max(map(error_status, errors))
    if "accepted" in statuses:
        return 202
    if "revoked before" in statuses:
        return 200
    if statuses == {"not held"}:
        return 404
    refusals = [result.refusal for result in results if isinstance(result, SubmissionResult) and result.refusal]
    return max((error_status(refusal) for refusal in refusals), default=422)


def error_status(error: RaymuError) -> int:
    """Return the HTTP status of an error; of several faults, the highest one."""
    if isinstance(error, SeveralFaults):
        return max(map(error_status, error.faults))
    return next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 503)
