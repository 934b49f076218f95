"""`raymu receipts`."""

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.json_document import emit
from raymu.cli.old_names import OLD_ARGUMENTS, warn_of_old_name
from raymu.cli.options import json_option, open_run, run_argument, trust_option
from raymu.console.request_tables import show_receipt
from raymu.console.screen import Screen
from raymu.errors import RequestInvalid


@click.command(
    "receipts",
    cls=RaymuCommand,
    example="raymu receipts runs/letter --json",
    context_settings={"allow_extra_args": True},  # the ids of requests, as in version 0.1
)
@run_argument
@click.option("--request", "request_ids", metavar="ID", multiple=True, help="Only this request. Repeat it for more.")
@trust_option
@json_option
@click.pass_context
def command(ctx: click.Context, run_dir: str, request_ids: tuple[str, ...], as_json: bool) -> None:
    """Show what was done for each request.

    With --json, the receipts are printed as they were signed.
    """
    if ctx.args:
        warn_of_old_name(*OLD_ARGUMENTS["receipts"])
        request_ids = (*request_ids, *ctx.args)
    run = open_run(run_dir)
    receipts = run.receipts(request_ids or None)
    unknown = set(request_ids) - {receipt.request_id for receipt in receipts}
    if unknown:
        raise RequestInvalid(f"{min(unknown)!r} is not a request of this run; `raymu receipts RUN` shows all of them")
    if as_json:
        emit("receipts", {"receipts": run.signed_receipts(request_ids or None)})
        return
    screen = Screen()
    if not receipts:
        screen.print("no request has been made yet")
    for index, receipt in enumerate(receipts):
        if index:
            screen.print("")
        show_receipt(screen, receipt)
