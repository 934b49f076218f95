"""`raymu receipts`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from raymu.api import Run
from raymu.cli.command import RaymuCommand
from raymu.cli.json_document import emit
from raymu.cli.old_names import OLD_ARGUMENTS, warn_of_old_name
from raymu.cli.options import json_option, open_run, run_argument, show, trust_option
from raymu.cli.parameter_types import DIRECTORY, FILE
from raymu.cli.request_options import IDS_FILE_HELP, ids_in_file, keys_in_file, owners_in_file, require_one_reader
from raymu.console.request_tables import show_receipt
from raymu.console.screen import Screen
from raymu.errors import RequestInvalid
from raymu.service.requests.lookup import FoundRequest
from raymu.store.codec import to_tree
from raymu.text import one_line, plural

_MAX_SHOWN = 20


@click.command(
    "receipts",
    cls=RaymuCommand,
    example="raymu receipts runs/letter --ids-file - --json",
    context_settings={"allow_extra_args": True},  # the ids of requests, as in version 0.1
)
@run_argument
@click.option("--request", "request_ids", metavar="ID", multiple=True, help="Only this request. Repeat it for more.")
@click.option("--id", "ids", metavar="ID", multiple=True, help="Only the request that revoked this sample.")
@click.option("--ids-file", type=FILE, help=f"Only the requests that revoked these samples, {IDS_FILE_HELP}")
@click.option("--owner", "owners", metavar="OWNER", multiple=True, help="Only the request that named this owner.")
@click.option("--owner-file", type=FILE, help="Only the requests that named the owners in a file; - is standard input.")
@click.option(
    "--idempotency-key",
    "--key",
    "keys",
    metavar="KEY",
    multiple=True,
    help="Only the request that was sent with this key.",
)
@click.option("--key-file", type=FILE, help="Only the requests with the keys in a file; - is standard input.")
@click.option(
    "--attest",
    "folder",
    metavar="FOLDER",
    type=DIRECTORY,
    help="Write each receipt into this new folder, as a signed envelope for others.",
)
@click.option("--html", "html_file", type=FILE, help="Write the receipts into this HTML file, to keep or to print.")
@click.option("--pdf", "pdf_file", type=FILE, help="Write the receipts into this PDF file (extra pdf).")
@trust_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    run_dir: str,
    request_ids: tuple[str, ...],
    folder: str | None,
    html_file: str | None,
    pdf_file: str | None,
    as_json: bool,
    **looked_for: Any,
) -> None:
    """Show what was done for each request.

    Samples, owners and keys are compared by their keyed hashes, so that those of purged requests are found too. With --json,
    the receipts are printed as they were signed.

    With --attest, receipts are written for others: as statements of in-toto in DSSE envelopes, each with the proof that the
    run issued it. docs/check_receipts.py checks them without raymu.

    --html and --pdf write one file for the archive: what was done for each request, when and at what cost, its signature, and
    the commands that check it. No sample and no owner is named.
    """
    if folder is not None and (html_file or pdf_file):
        raise RequestInvalid("--attest writes other files than --html and --pdf; give them one after another")
    if ctx.args:
        warn_of_old_name(*OLD_ARGUMENTS["receipts"])
        request_ids = (*request_ids, *ctx.args)
    run = open_run(run_dir)
    requests = _find(run, run_dir, **looked_for)
    shown_ids = _shown(request_ids, requests)
    if folder is not None:
        written = run.attest_receipts(folder, shown_ids)
        facts = {"schema": "raymu.attestations", "out": written.out, "files": list(written.files)}
        show(as_json, facts, lambda screen: screen.print(str(written)))
        return
    receipts, waits = run.receipts_and_waits(shown_ids)
    unknown = set(request_ids) - {receipt.request_id for receipt in receipts}
    if unknown:
        raise RequestInvalid(f"{min(unknown)!r} is not a request of this run; `raymu receipts RUN` shows all of them")
    if html_file or pdf_file:
        _write(run, {"html": html_file, "pdf": pdf_file}, shown_ids, as_json=as_json)
        return
    if as_json:
        document: dict[str, Any] = {"receipts": run.signed_receipts(shown_ids)}
        document["groups"] = {request_id: to_tree(wait) for request_id, wait in waits.items()}
        if requests:
            document["requests"] = [{each.kind: each.value, "request_id": each.request_id} for each in requests]
        emit("receipts", document)
        return
    screen = Screen()
    if not receipts:
        screen.print("no request has been made yet")
    for index, receipt in enumerate(receipts):
        if index:
            screen.print("")
        show_receipt(screen, receipt, waits.get(receipt.request_id))
    for each in requests[:_MAX_SHOWN]:
        outcome = f"request {each.request_id}" if each.request_id else "no request"
        screen.print(f"{each.kind} {one_line(each.value)}: {outcome}")
    if requests[_MAX_SHOWN:]:
        screen.print(f"and {len(requests) - _MAX_SHOWN:,} more; --json shows all of them")


def _write(run: Run, files: Mapping[str, str | None], request_ids: Sequence[str] | None, *, as_json: bool) -> None:
    """Write the receipts into files, and say so."""
    from raymu.report.receipt_file import check_receipt_file, write_receipts

    places = {form: Path(path) for form, path in files.items() if path is not None}
    for form, out in places.items():
        check_receipt_file(run, out, form=form)
    written = [write_receipts(run, out, form=form, request_ids=request_ids) for form, out in places.items()]
    facts = {"schema": "raymu.receipt_files", "files": [asdict(each) for each in written]}
    show(as_json, facts, lambda screen: screen.print("\n".join(map(str, written))))


def _find(
    run: Run,
    run_dir: str,
    *,
    ids: tuple[str, ...],
    ids_file: str | None,
    owners: tuple[str, ...],
    owner_file: str | None,
    keys: tuple[str, ...],
    key_file: str | None,
) -> list[FoundRequest]:
    """Find the requests of samples, owners and keys. Raise RequestInvalid if none of them has any."""
    require_one_reader(ids_file, owner_file, key_file)
    requests = run.find_requests(
        ids=(*ids, *(ids_in_file(run_dir, ids_file) if ids_file is not None else ())),
        owners=(*owners, *(owners_in_file(run_dir, owner_file) if owner_file is not None else ())),
        keys=(*keys, *(keys_in_file(key_file) if key_file is not None else ())),
    )
    if not requests and any(path is not None for path in (ids_file, owner_file, key_file)):
        raise RequestInvalid("the file names nothing to look for; write an id, an owner or a key on each line")
    if requests and all(each.request_id is None for each in requests):
        raise RequestInvalid(
            f"no request of this run has any of the {plural(len(requests), 'name')} given here; "
            "samples of an owner that were revoked by their ids are found by these"
        )
    return requests


def _shown(request_ids: Sequence[str], requests: Sequence[FoundRequest]) -> list[str] | None:
    """Return the ids of the requests to show; None for all."""
    if not request_ids and not requests:
        return None
    return list(dict.fromkeys((*request_ids, *(each.request_id for each in requests if each.request_id))))
