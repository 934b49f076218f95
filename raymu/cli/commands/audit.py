"""`raymu audit`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from raymu.cli.command import RaymuCommand
from raymu.cli.options import (
    EXIT_CODES,
    address_option,
    json_option,
    keep_verdict,
    open_run,
    run_argument,
    show,
    trust_option,
)
from raymu.cli.parameter_types import FILE, MODELS, NATURAL, POSITIVE
from raymu.console.audit_tables import show_audit
from raymu.console.progress import phase_progress
from raymu.console.snapshot_tables import show_two_snapshots
from raymu.core.verdict import Verdict
from raymu.errors import RequestInvalid
from raymu.service.audit.forget_set import AuditScope
from raymu.service.audit.report import AuditReport
from raymu.service.audit.snapshot_report import SnapshotReport, SnapshotScope

if TYPE_CHECKING:
    from raymu.api import Run


_OF_SNAPSHOTS = {"changes": "--changes", "at_least": "--at-least"}
_OF_REQUESTS = {
    "request_ids": "--request",
    "ids": "--id",
    "training_data": "--training-data",
    "test_data": "--test-data",
    "shadow_models": "--shadow-models",
    "repetitions": "--repetitions",
    "checked_file": "--check",
    "is_whole": "--all",
}
"""Parameter -> option, of one kind of audit alone."""


@click.command("audit", cls=RaymuCommand, example="raymu audit runs/letter --shadow-models 16")
@run_argument
@click.option("--request", "request_ids", metavar="ID", multiple=True, help="Only this request. Repeat it for more.")
@click.option("--id", "ids", metavar="ID", multiple=True, help="Only this sample of the requests. Repeat it for more.")
@click.option(
    "--training-data",
    type=FILE,
    multiple=True,
    help="The table with the rows of the forgotten samples; by default the training file. Repeat it for that of each `raymu "
    "extend`.",
)
@click.option("--test-data", type=FILE, help="A labelled table. By default, the test file of the configuration.")
@click.option(
    "--shadow-models",
    type=MODELS,
    default=16,
    show_default=True,
    help="The number of shadow models for each shard: even, and at least 4.",
)
@click.option(
    "--repetitions",
    type=NATURAL,
    default=8,
    show_default=True,
    help="How often the remedy is repeated: at least 3, or 0 for not at all.",
)
@click.option(
    "--check",
    "checked_file",
    type=FILE,
    help="Audit nothing: check that this file is an audit of the run, as it was signed.",
)
@click.option(
    "--two-snapshots",
    "has_two_snapshots",
    is_flag=True,
    help="Measure instead how well deleted samples are found from predictions before and after their deletion.",
)
@click.option(
    "--changes",
    type=POSITIVE,
    help="With --two-snapshots: the deletions of each kind that are tried, an even number of at least 8; 40 by default.",
)
@click.option(
    "--at-least",
    type=POSITIVE,
    metavar="N",
    help="With --two-snapshots: the deletions of a group; by default those of unlearning.publish, or 16.",
)
@click.option("--all", "is_whole", is_flag=True, help="Show every request, and the figures on other samples.")
@trust_option
@address_option
@json_option
def command(
    run_dir: str,
    request_ids: tuple[str, ...],
    ids: tuple[str, ...],
    training_data: tuple[str, ...],
    test_data: str | None,
    shadow_models: int,
    repetitions: int,
    checked_file: str | None,
    has_two_snapshots: bool,
    changes: int | None,
    at_least: int | None,
    is_whole: bool,
    address: str | None,
    as_json: bool,
) -> None:
    """Attack a run to test what it has forgotten.

    Membership inference attacks are run on what is served, on the oracle (retrained without the samples), and on a
    control that forgot nothing. Then the remedy is repeated with other seeds, and its distance from retraining is
    compared with that of two retrainings. Only the verdict is written into the run, with its time, for metrics and pages.

    Exit code 0: pass; 1: fail, as the served model or the repeated remedy can be told from retraining; 3: inconclusive.

    With --check, only the signature of a document and the run that it names are checked. Exit code 0: the run's key signed
    it; 2: it was changed, or is not an audit of this run; 3: nobody signed it.

    With --two-snapshots, samples of the run are deleted in memory, one by one and in groups, and an attacker who knows the
    predictions before and after guesses which. It is a measurement. Exit code 0: measured.
    """
    _check_combination(has_two_snapshots)
    run = open_run(run_dir, address=address)
    scope = AuditScope(
        request_ids=request_ids,
        ids=ids,
        data="\n".join(training_data) or None,
        test=test_data,
        shadow_models=shadow_models,
        repetitions=repetitions,
    )
    if checked_file is not None:
        document = run.read_audit(checked_file)
        facts = {
            "schema": "raymu.audit_check",
            "generation": document.generation,
            "served": document.served,
            "is_signed": document.is_signed,
            "verdict": document.verdict,
        }
        line = str(document) if document.verdict is None else f"{document}; its verdict: {document.verdict}"
        show(as_json, facts, lambda screen: screen.print(line))
        sys.exit(EXIT_CODES[Verdict.PASS if document.is_signed else Verdict.INCONCLUSIVE])
    if has_two_snapshots:
        settings = {"changes": changes, "at_least": at_least}
        snapshot_scope = SnapshotScope(**{name: number for name, number in settings.items() if number is not None})
        with phase_progress("repairs", is_shown=not as_json) as (progress, phase):
            measured = run.audit_two_snapshots(snapshot_scope, progress=progress, phase=phase)
        show(as_json, _document(run, measured, as_json), lambda screen: show_two_snapshots(screen, measured))
        return
    with phase_progress("models", is_shown=not as_json) as (progress, phase):
        report = run.audit(scope, progress=progress, phase=phase)
    keep_verdict(run, report)
    show(as_json, _document(run, report, as_json), lambda screen: show_audit(screen, report, is_whole=is_whole))
    sys.exit(EXIT_CODES[report.verdict])


def _document(run: Run, report: AuditReport | SnapshotReport, as_json: bool) -> dict[str, Any]:
    """Return the document to print; an empty one without --json. Say if it is not signed."""
    if not as_json:
        return {}
    tree = run.audit_document(report)
    if tree["signature"] is None:
        click.echo("raymu: the audit is not signed, since this run's signing.key cannot be read", err=True)
    return tree


def _check_combination(has_two_snapshots: bool) -> None:
    """Raise RequestInvalid if an option is given that the kind of audit does not take."""
    context = click.get_current_context()
    others = _OF_SNAPSHOTS if not has_two_snapshots else _OF_REQUESTS
    for name, option in others.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            if has_two_snapshots:
                raise RequestInvalid(f"{option} is not for --two-snapshots; leave one of them out")
            raise RequestInvalid(f"{option} is only for --two-snapshots; give that too")
