"""The commands. 0: done; 1: a negative verdict; 2: bad input, said in one line; 3: inconclusive."""

import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from raymu.api import Revocation, open_run, train
from raymu.config import Config
from raymu.console import Screen, stage_progress
from raymu.core.verdict import Verdict
from raymu.errors import RaymuError, RequestInvalid, SamplesRevoked, in_one_line
from raymu.learn.data import read_features
from raymu.learn.ids import read_ids
from raymu.learn.predictions import require_place, write_predictions
from raymu.service.request_table import read_requests
from raymu.store.codec import to_tree

Command = TypeVar("Command", bound=Callable[..., None])


_EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}


_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def duration(text: str) -> timedelta:
    """A span of time such as 7d, 12h, 30m or 45s; within 100,000 days."""
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is None or not number.isdecimal() or len(number) > 5:
        raise click.BadParameter(f"{text!r} is no span of time; write 7d, 12h, 30m or 45s")
    return timedelta(**{unit: int(number)})


def moment(text: str) -> datetime:
    """A date or time in ISO 8601; on this machine's clock where it names no zone."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{text!r} is no time; write 2030-01-31 or 2030-01-31T12:00+01:00") from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.version_option(package_name="raymu")
def cli() -> None:
    """Train PyTorch classifiers so that any training sample can be taken out again, and take it out."""


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
run_argument = click.argument("run_dir", metavar="RUN")
data_option = click.option("--data", "data_file", required=True, help="Parquet or Arrow file.")


def request_options(command: Command) -> Command:
    """What names a request."""
    for option in (
        click.option("--boundary", help="Hybrid boundary: 0.35, 30s or deadline:60s."),
        click.option("--strategy", type=click.Choice(["sisa", "dpus", "hs", "ohs"])),
        click.option("--owner", help="All samples of this owner."),
        click.option("--ids-file", help="Sample ids as text, CSV or Parquet."),
        click.option("--id", "ids", multiple=True, help="A sample id; may be given again."),
    ):
        command = option(command)
    return command


@cli.command("train")
@click.argument("config_file", metavar="CONFIG.yaml")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--run", "run_dir", help="Directory of the new run; runs/NAME of the configuration by default.")
@click.option("--exclude", "exclude_file", help="Ids file: samples that the run never gets to see.")
@json_option
def train_command(
    config_file: str, settings: tuple[str, ...], run_dir: str | None, exclude_file: str | None, as_json: bool
) -> None:
    """Train a run as CONFIG.yaml says; KEY=VALUE settings such as training.epochs=3 override it."""
    config = Config.load(config_file, settings)
    location = f"runs/{Path(config_file).stem}" if run_dir is None else run_dir
    exclude = read_ids(exclude_file) if exclude_file is not None else []
    with (
        stage_progress(shards=config.partition.shards, is_shown=not as_json) as progress,
        train(config, location, exclude=exclude, progress=progress) as run,
    ):
        report = run.training
    _show(as_json, report, lambda screen: screen.training(report, location))


@cli.command("plan")
@run_argument
@request_options
@click.option("--workers", type=click.IntRange(min=1), help="Workers at hand; as many as trained the run by default.")
@json_option
def plan_command(run_dir: str, workers: int | None, as_json: bool, **request: Any) -> None:
    """Forecast what a request would cost with each strategy. Changes nothing."""
    asked = _revocation(**request)
    with open_run(run_dir) as run:
        forecast = run.plan(
            asked.ids, owner=asked.owner, strategy=asked.strategy, boundary=asked.boundary, workers=workers
        )
    _show(as_json, forecast, lambda screen: screen.forecast(forecast))


@cli.command("revoke")
@run_argument
@request_options
@click.option("--due", type=moment, help="When it must be exact, in ISO 8601; 30 days from now by default.")
@click.option("--key", help="Idempotency key: the same key and payload give the same receipt.")
@click.option("--requests", "requests_file", help="CSV or Parquet: a request per row; columns id or owner, key, due.")
@json_option
def revoke_command(
    run_dir: str, due: datetime | None, key: str | None, requests_file: str | None, as_json: bool, **request: Any
) -> None:
    """Take samples out of a run; with --requests, each row is answered by itself (exit code 1: some are refused)."""
    if requests_file:
        if any((key, request.pop("ids"), request.pop("ids_file"), request.pop("owner"))):
            raise RequestInvalid("give --requests, or one request with --id, --ids-file or --owner and --key, not both")
        _submit(run_dir, read_requests(requests_file, due=due, **request), as_json)
        return
    asked = _revocation(**request, due=due, key=key)
    with open_run(run_dir) as run, stage_progress(shards=run.config.partition.shards, is_shown=not as_json) as progress:
        try:
            [receipt] = run.revoke_together([asked], progress=progress)
        except SamplesRevoked as refusal:
            for earlier in run.receipts(refusal.request_ids):
                _show(as_json, earlier, partial(Screen.receipt, receipt=earlier))
            raise
    _show(as_json, receipt, lambda screen: screen.receipt(receipt))


def _submit(run_dir: str, asked: list[Revocation], as_json: bool) -> None:
    with open_run(run_dir) as run, stage_progress(shards=run.config.partition.shards, is_shown=not as_json) as progress:
        answers = run.submit(asked, progress=progress)
    told = [
        {"row": row, "request_id": answer.request_id, "refusal": answer.refusal and str(answer.refusal)}
        for row, answer in enumerate(answers, start=1)
    ]
    _show(as_json, told, lambda screen: screen.answers(answers))
    sys.exit(any(answer.refusal for answer in answers))


@cli.command("settle")
@run_argument
@click.option("--due-within", type=duration, help="Only what is due by then, such as 7d, 12h or 30m from now.")
@json_option
def settle_command(run_dir: str, due_within: timedelta | None, as_json: bool) -> None:
    """Retrain exactly what was only patched, and finish what was interrupted."""
    with open_run(run_dir) as run, stage_progress(shards=run.config.partition.shards, is_shown=not as_json) as progress:
        report = run.settle(due_within=due_within, progress=progress)
    _show(as_json, report, lambda screen: screen.settled(report))


@cli.command("rebuild")
@run_argument
@click.option("--data", "data_file", help="The file that the run was trained from, where samples are lost.")
@json_option
def rebuild_command(run_dir: str, data_file: str | None, as_json: bool) -> None:
    """Make good what is missing or changed: samples from a copy, states by training again from the last sound one."""
    with open_run(run_dir) as run, stage_progress(shards=run.config.partition.shards, is_shown=not as_json) as progress:
        report = run.rebuild(data=data_file, progress=progress)
    _show(as_json, report, lambda screen: screen.rebuilt(report))


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
    _show(as_json, found, lambda screen: screen.verification(found))
    sys.exit(_EXIT_CODES[found.verdict])


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


@cli.command("status")
@run_argument
@json_option
def status_command(run_dir: str, as_json: bool) -> None:
    """Show what every shard serves, and how far the requests are."""
    status = open_run(run_dir).status()
    _show(as_json, status, lambda screen: screen.status(status))


@cli.command("evaluate")
@run_argument
@data_option
@json_option
def evaluate_command(run_dir: str, data_file: str, as_json: bool) -> None:
    """Measure the accuracy on a table with labels."""
    evaluation = open_run(run_dir).evaluate_file(data_file)
    _show(as_json, evaluation, lambda screen: screen.evaluation(evaluation))


@cli.command("predict")
@run_argument
@data_option
@click.option("--out", "out_file", required=True, help="Parquet or CSV file to write.")
@click.option("--labels-only", is_flag=True, help="Leave the probabilities out: they tell more about single samples.")
@json_option
def predict_command(run_dir: str, data_file: str, out_file: str, labels_only: bool, as_json: bool) -> None:
    """Predict a table: the class of each sample, and the probabilities of all classes."""
    require_place(out_file, data=data_file)
    run = open_run(run_dir)
    fields = run.config.data
    table = read_features(data_file, fields)
    probabilities = run.predict(table.features)
    write_predictions(out_file, probabilities, ids=table.ids, id_name=fields.id, labels_only=labels_only)
    written = {"out": out_file, "samples": len(probabilities)}
    _show(as_json, written, lambda screen: screen.say(f"predicted {len(probabilities)} samples into {out_file}"))


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
    from raymu.report.writing import write_report  # the templates' machinery: only where it is used

    run = open_run(run_dir)
    out = Path(out_file or f"{Path(run_dir).name or 'run'}-report.html")
    audit = Path(audit_file) if audit_file else None
    with stage_progress(shards=run.config.partition.shards, is_shown=not as_json) as progress:
        written = write_report(run, out, data=data_file, is_verified=is_verified, audit=audit, progress=progress)
    late = f"; {written.late} late" if written.late else ""
    verdict = f"; verdict: {written.verdict}" if written.verdict else ""
    what = f"wrote {out}: generation {written.generation}, {written.requests} requests{late}{verdict}"
    _show(as_json, written, lambda screen: screen.say(what))
    sys.exit(_EXIT_CODES[written.verdict] if written.verdict else 0)


@cli.command("demo")
@click.option(
    "--out", "out_dir", default="raymu-demo", show_default=True, help="Directory for the figure and the results."
)
@json_option
def demo_command(out_dir: str, as_json: bool) -> None:
    """Train on the bundled letter data, revoke with every strategy, and compare."""
    from raymu.demo import run_demo, show  # Ray takes a second to import: only where it is used

    result = run_demo(Path(out_dir), is_shown=not as_json)
    _show(as_json, result, partial(show, result))


def main() -> None:
    """Entry point: turns every refusal into one line and an exit code."""
    try:
        cli(standalone_mode=False)
    except RaymuError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _complain(f"{error.format_message()} (see raymu --help)")
        sys.exit(2)
    except (OSError, MemoryError) as error:  # of the machine, where nobody nearer could say more
        _complain(
            f"the machine gave out ({type(error).__name__}: {error}); see to its disk, its memory and its permissions"
        )
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted")
        sys.exit(130)


def _complain(text: str) -> None:
    click.echo(f"raymu: {in_one_line(text, longest=1000)}", err=True)


def _show(as_json: bool, record: Any, draw: Callable[[Screen], None]) -> None:
    if as_json:
        click.echo(json.dumps(record if isinstance(record, dict) else to_tree(record), indent=2))
    else:
        draw(Screen())


def _revocation(ids: tuple[str, ...], ids_file: str | None, **request: Any) -> Revocation:
    if ids and ids_file is not None:
        raise RequestInvalid("give --id or --ids-file, not both")
    named = ids if ids_file is None else tuple(read_ids(ids_file))
    if ids_file is not None and not named:
        raise RequestInvalid(f"{ids_file}: names no samples; a request needs at least one")
    return Revocation(ids=named, **request)


if __name__ == "__main__":
    main()
