"""`raymu audit`."""

import sys

import click

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
from raymu.cli.parameter_types import FILE, MODELS, NATURAL
from raymu.console.audit_tables import show_audit
from raymu.console.progress import phase_progress
from raymu.core.verdict import Verdict
from raymu.service.audit.forget_set import AuditScope


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
    """
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
        show(as_json, facts, lambda screen: screen.print(f"{document}; its verdict: {document.verdict}"))
        sys.exit(EXIT_CODES[Verdict.PASS if document.is_signed else Verdict.INCONCLUSIVE])
    with phase_progress("models", is_shown=not as_json) as (progress, phase):
        report = run.audit(scope, progress=progress, phase=phase)
    keep_verdict(run, report)
    tree = run.audit_document(report) if as_json else {}
    if as_json and tree["signature"] is None:
        click.echo("raymu: the audit is not signed, since this run's signing.key cannot be read", err=True)
    show(as_json, tree, lambda screen: show_audit(screen, report, is_whole=is_whole))
    sys.exit(EXIT_CODES[report.verdict])
