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
    read_revocation,
    request_options,
    run_argument,
    show,
    trust_option,
)
from raymu.cli.parameter_types import FILE, TIME
from raymu.console.progress import stage_progress
from raymu.console.request_tables import show_receipt, show_submission
from raymu.console.screen import Screen
from raymu.core.receipt import Receipt
from raymu.errors import RequestInvalid, SamplesRevoked
from raymu.service.requests.revocation import Revocation
from raymu.service.requests.table import read_requests
from raymu.store.codec import to_tree


@click.command("revoke", cls=RaymuCommand, example="raymu revoke runs/letter --id 17 --id 4021 --strategy ohs")
@run_argument
@request_options
@click.option(
    "--due", type=TIME, help="The time by which the result has to be exact, in ISO 8601. By default, in 30 days."
)
@click.option(
    "--idempotency-key",
    "key",
    metavar="KEY",
    help="Your name for the request: sending it twice with the same key makes one request.",
)
@click.option(
    "--requests-file",
    type=FILE,
    help="Send the requests of a CSV or Parquet file, one per row, with the columns id or owner, key, due.",
)
@trust_option
@address_option
@json_option
def command(
    run_dir: str,
    due: datetime | None,
    key: str | None,
    requests_file: str | None,
    address: str | None,
    as_json: bool,
    **request: Any,
) -> None:
    """Revoke samples, or all samples of an owner.

    The shards that were trained on the samples are rewound at once, and then repaired as the strategy says. The command
    prints the receipt.

    With --requests-file, each row is accepted or refused by itself; exit code 1 says that some were refused.
    """
    if requests_file is not None:
        if any((key, request.pop("ids"), request.pop("ids_file"), request.pop("owner"))):
            raise RequestInvalid(
                "give --requests-file, or one request with --id, --ids-file or --owner and --idempotency-key, not both"
            )
        _revoke_rows(open_run(run_dir, address=address), read_requests(requests_file, due=due, **request), as_json)
        return
    revocation = read_revocation(run_dir, **request, due=due, key=key)
    with (
        open_run(run_dir, address=address) as run,
        stage_progress(shards=run.config.partition.shards, is_shown=not as_json) as progress,
    ):
        try:
            [receipt] = run.revoke_together([revocation], progress=progress)
        except SamplesRevoked as refusal:
            if as_json:
                add_details(refusal, receipts=run.signed_receipts(refusal.request_ids))
            else:
                for earlier in run.receipts(refusal.request_ids):
                    show_receipt(Screen(), earlier)
            raise
    with printing_after_commit(f"`raymu receipts RUN --request {receipt.request_id}`"):
        if as_json:
            emit("revoke", _as_signed(run, receipt))
        else:
            show_receipt(Screen(), receipt)


def _as_signed(run: Run, receipt: Receipt) -> dict[str, Any]:
    """Return a receipt as it was issued, as `raymu receipts` prints it; one that is not issued yet has no signature."""
    issued = run.signed_receipts([receipt.request_id])
    return issued[0] if issued else to_tree(receipt)


def _revoke_rows(opened: Run, revocations: list[Revocation], as_json: bool) -> None:
    """Send many requests, print the refused ones, and exit with 1 if there are any."""
    with opened as run, stage_progress(shards=run.config.partition.shards, is_shown=not as_json) as progress:
        results = run.revoke_many(revocations, progress=progress)
    with printing_after_commit("`raymu receipts RUN`"):
        if as_json:
            rows = [
                {"row": row, "request_id": result.request_id, "refusal": result.refusal and str(result.refusal)}
                for row, result in enumerate(results, start=1)
            ]
            emit("revoke", {"requests": rows})
        else:
            show(as_json, results, lambda screen: show_submission(screen, results))
    sys.exit(any(result.refusal for result in results))
