"""`raymu report`."""

import sys
from pathlib import Path

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import EXIT_CODES, json_option, open_run, run_argument, show, trust_option
from raymu.cli.parameter_types import FILE
from raymu.console.progress import stage_progress
from raymu.core.uri import basename
from raymu.report.write import write_report
from raymu.text import plural


@click.command("report", cls=RaymuCommand, example="raymu report runs/letter --test-data test.parquet --verify")
@run_argument
@click.option("--test-data", type=FILE, help="Measure the accuracy on this labelled table.")
@click.option("--out", "out_file", type=FILE, help="The HTML file to write. By default, NAME-report.html.")
@click.option(
    "--verify", "is_verified", is_flag=True, help="Verify the run too, and exit with the exit code of `raymu verify`."
)
@click.option(
    "--audit-file",
    "audit_files",
    metavar="FILE",
    multiple=True,
    type=FILE,
    help="Show the result of `raymu audit --json` from this file. Repeat it for that of --two-snapshots.",
)
@trust_option
@json_option
def command(
    run_dir: str,
    test_data: str | None,
    out_file: str | None,
    is_verified: bool,
    audit_files: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write an HTML page about a run.

    The page shows what was trained, what was forgotten and when, and what is still owed. It names no sample and no owner.
    """
    run = open_run(run_dir)
    out = Path(out_file or f"{basename(run_dir) or 'run'}-report.html")
    audits = tuple(map(Path, audit_files))
    with stage_progress(is_shown=not as_json) as progress:
        result = write_report(run, out, data=test_data, is_verified=is_verified, audits=audits, progress=progress)
    late = f"; {result.late} late" if result.late else ""
    verdict = f"; verdict: {result.verdict}" if result.verdict else ""
    text = f"wrote {out}: generation {result.generation}, {plural(result.requests, 'request')}{late}{verdict}"
    show(as_json, result, lambda screen: screen.print(text))
    sys.exit(EXIT_CODES[result.verdict] if result.verdict else 0)
