"""Commands that show what was forgotten, how and when."""

import json
import sys
from pathlib import Path

import click

from raymu.api import open_run
from raymu.cli.group import cli
from raymu.cli.options import EXIT_CODES, address_option, json_option, run_argument, show
from raymu.console import Screen, stage_progress, trial_progress
from raymu.console.study_tables import show_audit
from raymu.core.uri import basename
from raymu.errors import RequestInvalid
from raymu.service.audit.forget_set import AuditScope
from raymu.text import plural


@cli.command("verify")
@run_argument
@click.option("--replay", is_flag=True, help="Train shards again without the revoked samples, and compare bit for bit.")
@click.option("--shard", "shards", multiple=True, type=int, help="For --replay: only this one; may be given again.")
@click.option("--anchor", help="What an earlier verification ended with: finds a run that was rolled back since.")
@json_option
def verify_command(run_dir: str, replay: bool, shards: tuple[int, ...], anchor: str | None, as_json: bool) -> None:
    """Check that a run is what its journal says, and that nothing served descends from a revoked sample.

    Exit code 0: it passes; 1: it fails; 3: something is left open. Writes nothing.
    """
    run = open_run(run_dir)
    chosen = shards or None
    with stage_progress(shards=run.config.partition.shards, is_shown=not as_json) as progress:
        found = run.verify(replay=chosen if replay or shards else (), anchor=anchor, progress=progress)
    show(as_json, found, lambda screen: screen.verification(found))
    sys.exit(EXIT_CODES[found.verdict])


@cli.command("receipts")
@run_argument
@click.argument("request_ids", nargs=-1, metavar="[REQUEST]...")
@json_option
def receipts_command(run_dir: str, request_ids: tuple[str, ...], as_json: bool) -> None:
    """Show the receipts of these requests, or of all. With --json, as they were signed."""
    run = open_run(run_dir)
    found = run.receipts(request_ids or None)
    unknown = set(request_ids) - {receipt.request_id for receipt in found}
    if unknown:
        raise RequestInvalid(f"{min(unknown)!r} is no request of this run; `raymu receipts RUN` shows them all")
    if as_json:
        click.echo(json.dumps(run.signed_receipts(request_ids or None), indent=2))
        return
    for receipt in found:
        Screen().receipt(receipt)


@cli.command("report")
@run_argument
@click.option("--data", "data_file", help="Parquet or Arrow file: measure the accuracy on it.")
@click.option("--out", "out_file", help="HTML file to write; the run's name and -report.html by default.")
@click.option(
    "--verify", "is_verified", is_flag=True, help="Verify the run, and show what is found; exits as verify does."
)
@click.option("--audit", "audit_file", help="JSON file: what an audit of this run found.")
@json_option
def report_command(
    run_dir: str, data_file: str | None, out_file: str | None, is_verified: bool, audit_file: str | None, as_json: bool
) -> None:
    """Write one HTML page for people: what was trained, what was forgotten and when, and what is still owed."""
    from raymu.report.write import write_report  # the templates' machinery: only where it is used

    run = open_run(run_dir)
    out = Path(out_file or f"{basename(run_dir) or 'run'}-report.html")
    audit = Path(audit_file) if audit_file else None
    with stage_progress(shards=run.config.partition.shards, is_shown=not as_json) as progress:
        written = write_report(run, out, data=data_file, is_verified=is_verified, audit=audit, progress=progress)
    late = f"; {written.late} late" if written.late else ""
    verdict = f"; verdict: {written.verdict}" if written.verdict else ""
    what = f"wrote {out}: generation {written.generation}, {plural(written.requests, 'request')}{late}{verdict}"
    show(as_json, written, lambda screen: screen.say(what))
    sys.exit(EXIT_CODES[written.verdict] if written.verdict else 0)


@cli.command("audit")
@run_argument
@click.option("--request", "request_ids", multiple=True, help="Only this request; may be given again.")
@click.option("--id", "ids", multiple=True, help="Only this sample of the requests; may be given again.")
@click.option("--data", "data_file", help="File with the forgotten samples' rows; the training file by default.")
@click.option("--test", "test_file", help="Labelled table; the configuration's test file by default.")
@click.option("--models", type=int, default=16, show_default=True, help="Shadow models for each shard.")
@address_option
@json_option
def audit_command(
    run_dir: str,
    request_ids: tuple[str, ...],
    ids: tuple[str, ...],
    data_file: str | None,
    test_file: str | None,
    models: int,
    address: str | None,
    as_json: bool,
) -> None:
    """Attack what was forgotten, beside the retrained oracle and a control that forgot nothing.

    Exit code 0: not to be told from the oracle; 1: it is; 3: too little data to say. Writes nothing.
    """
    run = open_run(run_dir, address=address)
    scope = AuditScope(request_ids=request_ids, ids=ids, data=data_file, test=test_file, shadow_models=models)
    with trial_progress("models", is_shown=not as_json) as progress:
        report = run.audit(scope, progress=progress)
    show(as_json, report, lambda screen: show_audit(screen, report))
    sys.exit(EXIT_CODES[report.verdict])
