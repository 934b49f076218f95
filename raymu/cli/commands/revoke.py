"""`raymu revoke`."""

import sys
from datetime import datetime
from typing import Any

import click

from raymu.api import Run
from raymu.cli.command import RaymuCommand
from raymu.cli.json_document import add_details, emit
from raymu.cli.options import (
    address_option,
    json_option,
    open_run,
    printing_after_commit,
    run_argument,
    take_over_option,
    trust_option,
)
from raymu.cli.parameter_types import FILE, TIME
from raymu.cli.request_options import date_format_option, read_revocation, request_options, say_notes
from raymu.cli.work_progress import work_progress
from raymu.console.request_tables import show_left_out, show_outcomes, show_receipt
from raymu.console.screen import Screen
from raymu.core.receipt import Receipt
from raymu.data.due_dates import DateFormat
from raymu.errors import RaymuError, RequestInvalid, SamplesRevoked, SeveralFaults
from raymu.service.requests.delta_table import read_table_deletions
from raymu.service.requests.lookup import FoundRequest
from raymu.service.requests.outcomes import Outcome, outcome_tree, outcomes_of
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.requests.table import RequestRows, read_requests
from raymu.store.codec import to_tree
from raymu.text import one_line, plural

_ONE_REQUEST = ("ids", "ids_file", "owner", "owner_file")
"""Parameters that describe one request."""


@click.command("revoke", cls=RaymuCommand, example="raymu revoke runs/letter --id 17 --id 4021 --strategy ohs")
@run_argument
@request_options
@click.option(
    "--due",
    type=TIME,
    help="The time by which the result has to be exact, as 2030-01-31 (the end of that day) or 2030-01-31T12:00+01:00. "
    "It may be past. By default, in 30 days.",
)
@date_format_option
@click.option(
    "--idempotency-key",
    "key",
    metavar="KEY",
    help="Your name for the request: sending it twice with the same key makes one request.",
)
@click.option(
    "--requests-file",
    type=FILE,
    help="Send the requests of a table, one per row, with the columns id or owner, and perhaps key, due, strategy and "
    "boundary: CSV, JSON lines, Parquet or Arrow; - is standard input.",
)
@click.option(
    "--delta-table",
    metavar="TABLE",
    help="Revoke the samples that were deleted in a Delta Lake table, by its change data feed: a path or a URI.",
)
@click.option(
    "--since",
    metavar="VERSION",
    type=click.IntRange(0),
    help="The table's version that the run was trained from. By default, the last one whose deletions the run has.",
)
@trust_option
@address_option
@take_over_option
@json_option
def command(
    run_dir: str,
    due: datetime | None,
    date_format: DateFormat | None,
    key: str | None,
    requests_file: str | None,
    delta_table: str | None,
    since: int | None,
    address: str | None,
    as_json: bool,
    **request: Any,
) -> None:
    """Revoke samples, or all samples of an owner.

    The shards that were trained on the samples are rewound at once, and then repaired as the strategy says. The command
    prints the receipt.

    With --requests-file, each row is accepted or refused by itself; exit code 1 says that some were refused. With
    --delta-table, each version of the table that deletes rows is one request, so that a repeated call does nothing.
    """
    if delta_table is not None:
        own = (key, requests_file, *(request.pop(name) for name in _ONE_REQUEST))
        if any(own):
            raise RequestInvalid("give --delta-table, or samples by other options, not both")
        request.pop("ignore_unknown")
        _revoke_deleted_rows(open_run(run_dir, address=address), delta_table, since, as_json, due=due, **request)
        return
    if since is not None:
        raise RequestInvalid("--since is a version of --delta-table; give both")
    if requests_file is not None:
        if any((key, *(request.pop(name) for name in _ONE_REQUEST))):
            raise RequestInvalid(
                "give --requests-file, or one request with --id, --ids-file or --owner and --idempotency-key, not both"
            )
        run = open_run(run_dir, address=address)
        rows = read_requests(requests_file, run.config.data, due=due, date_format=date_format, **request)
        say_notes(rows.notes)
        _revoke_rows(run, rows, as_json)
        return
    revocation = read_revocation(run_dir, **request, due=due, key=key)
    with (
        open_run(run_dir, address=address) as run,
        work_progress(is_shown=not as_json) as progress,
    ):
        try:
            done = run.revoke_with_results([revocation], progress=progress)
        except RaymuError as refusal:
            _show_refusal(run, revocation, refusal, as_json)
            raise
    [receipt], [result] = done.receipts, done.results
    with printing_after_commit(f"`raymu receipts RUN --request {receipt.request_id}`"):
        outcome = Outcome(result=result, revoked=_revoked_ids(run, revocation, result))
        if as_json:
            emit("revoke", {**_as_signed(run, receipt), "outcome": outcome_tree(outcome)})
        else:
            show_receipt(Screen(), receipt, run.group_waits([receipt.request_id]).get(receipt.request_id))
            show_left_out(Screen(), outcome)


def _show_refusal(run: Run, revocation: Revocation, refusal: RaymuError, as_json: bool) -> None:
    """Show the receipts of the requests that revoked some of the samples before."""
    if isinstance(refusal, SamplesRevoked | SeveralFaults):
        result = SubmissionResult(refusal=refusal)
        outcome = Outcome(result=result, revoked=_revoked_ids(run, revocation, result))
        if as_json:
            add_details(refusal, receipts=run.signed_receipts(refusal.request_ids), outcome=outcome_tree(outcome))
            return
        for earlier in run.receipts(refusal.request_ids):
            show_receipt(Screen(), earlier)
        show_left_out(Screen(), outcome)


def _revoked_ids(run: Run, revocation: Revocation, result: SubmissionResult) -> tuple[FoundRequest, ...]:
    """Return the ids that earlier requests revoked, with these requests."""
    if not result.earlier_requests:
        return ()
    ids = tuple(dict.fromkeys(revocation.ids))
    owners = () if revocation.owner is None else (revocation.owner,)
    requests = run.find_requests(ids=ids, owners=owners)
    return tuple(request for request in requests if request.request_id in result.earlier_requests)


def _as_signed(run: Run, receipt: Receipt) -> dict[str, Any]:
    """Return a receipt as it was issued, as `raymu receipts` prints it; one that is not issued yet has no signature."""
    issued = run.signed_receipts([receipt.request_id])
    return issued[0] if issued else to_tree(receipt)


def _revoke_rows(opened: Run, rows: RequestRows, as_json: bool) -> None:
    """Send many requests, print the refused ones, and exit with 1 if there are any."""
    with opened as run, work_progress(is_shown=not as_json) as progress:
        results = run.revoke_many(rows.revocations, progress=progress)
    outcomes = outcomes_of(rows, results)
    with printing_after_commit("`raymu receipts RUN`"):
        if as_json:
            emit("revoke", {"requests": [outcome_tree(outcome) for outcome in outcomes]})
        else:
            show_outcomes(Screen(), outcomes)
    sys.exit(any(outcome.status == "refused" for outcome in outcomes))


def _revoke_deleted_rows(opened: Run, table: str, since: int | None, as_json: bool, **request: Any) -> None:
    """Send what a Delta Lake table deleted, print each version, and exit with 1 if a request was refused."""
    with opened as run:
        deletions = read_table_deletions(
            table, run.config.data.id, since=since, find=lambda keys: run.find_requests(keys=keys), **request
        )
        results: list[SubmissionResult] = []
        if deletions.revocations:
            with work_progress(is_shown=not as_json) as progress:
                results = run.revoke_many(deletions.revocations, progress=progress)
    statuses = ["accepted" if each.request_id else "not held" if each.is_absent else "refused" for each in results]
    rows = list(zip(deletions.versions, deletions.revocations, results, statuses, strict=True))
    refused = [version for version, status in zip(deletions.versions, statuses, strict=True) if status == "refused"]
    since_again = min(refused) - 1 if refused else None
    with printing_after_commit("`raymu receipts RUN`"):
        if as_json:
            versions = [
                {
                    "version": version,
                    "samples": len(revocation.ids),
                    "status": status,
                    "request_id": result.request_id,
                    "problem": one_line(result.refusal) if status == "refused" else None,
                }
                for version, revocation, result, status in rows
            ]
            emit("revoke", {"table_version": deletions.last, "versions": versions, "since_again": since_again})
        else:
            for version, revocation, result, status in rows:
                problem = f": {one_line(result.refusal)}" if status == "refused" else ""
                count = plural(len(revocation.ids), "id")
                click.echo(f"version {version}: {count} deleted, {status} {result.request_id or ''}".rstrip() + problem)
            click.echo(f"the deletions up to version {deletions.last} were read")
            if since_again is not None:
                click.echo(f"once what was refused can be accepted, run the command again with --since {since_again}")
    sys.exit(bool(refused))
