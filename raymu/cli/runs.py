"""Commands that change a run, and what it is like."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click

from raymu.api import Revocation, Run, open_run, train
from raymu.cli.group import cli
from raymu.cli.options import (
    address_option,
    json_option,
    named_revocation,
    parse_datetime,
    parse_duration,
    request_options,
    run_argument,
    show,
)
from raymu.config import Config
from raymu.console import Screen, stage_progress
from raymu.core.receipt import Receipt
from raymu.core.uri import redacted
from raymu.data.ids import read_ids
from raymu.errors import DeviceUnavailable, RequestInvalid, SamplesRevoked
from raymu.service.requests.table import read_requests
from raymu.service.shard.messages import Progress, ShardLocations
from raymu.store.codec import to_tree


@cli.command("train")
@click.argument("config_file", metavar="CONFIG.yaml")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--run", "run_dir", help="Directory of the new run; runs/NAME of the configuration by default.")
@click.option("--exclude", "exclude_file", help="Ids file: samples that the run never gets to see.")
@address_option
@json_option
def train_command(
    config_file: str,
    settings: tuple[str, ...],
    run_dir: str | None,
    exclude_file: str | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Train a run as CONFIG.yaml says; KEY=VALUE settings such as training.epochs=3 override it."""
    config = Config.load(config_file, settings)
    location = f"runs/{Path(config_file).stem}" if run_dir is None else run_dir
    exclude = read_ids(exclude_file) if exclude_file is not None else []
    with (
        stage_progress(shards=config.partition.shards, is_shown=not as_json) as progress,
        train(config, location, exclude=exclude, address=address, progress=progress) as run,
    ):
        report = run.training
    show(as_json, report, lambda screen: screen.training(report, redacted(location)))


@cli.command("revoke")
@run_argument
@request_options
@click.option("--due", type=parse_datetime, help="When it must be exact, in ISO 8601; 30 days from now by default.")
@click.option("--key", help="Idempotency key: the same key and payload give the same receipt.")
@click.option("--requests", "requests_file", help="CSV or Parquet: a request per row; columns id or owner, key, due.")
@address_option
@json_option
def revoke_command(
    run_dir: str,
    due: datetime | None,
    key: str | None,
    requests_file: str | None,
    address: str | None,
    as_json: bool,
    **request: Any,
) -> None:
    """Take samples out of a run; with --requests, each row is answered by itself (exit code 1: some are refused)."""
    if requests_file:
        if any((key, request.pop("ids"), request.pop("ids_file"), request.pop("owner"))):
            raise RequestInvalid("give --requests, or one request with --id, --ids-file or --owner and --key, not both")
        _submit(open_run(run_dir, address=address), read_requests(requests_file, due=due, **request), as_json)
        return
    asked = named_revocation(**request, due=due, key=key)
    with _working_on(open_run(run_dir, address=address), as_json) as (run, progress):
        try:
            [receipt] = run.revoke_together([asked], progress=progress)
        except SamplesRevoked as refusal:
            _show_earlier(run.receipts(refusal.request_ids), as_json)
            raise
    show(as_json, receipt, lambda screen: screen.receipt(receipt))


def _show_earlier(receipts: Sequence[Receipt], as_json: bool) -> None:
    """One as `revoke` shows its own; several, in JSON, as a list."""
    if as_json and len(receipts) > 1:
        click.echo(json.dumps([to_tree(one) for one in receipts], indent=2))
        return
    for one in receipts:
        show(as_json, one, partial(Screen.receipt, receipt=one))


def _submit(opened: Run, asked: list[Revocation], as_json: bool) -> None:
    with _working_on(opened, as_json) as (run, progress):
        answers = run.revoke_many(asked, progress=progress)
    told = [
        {"row": row, "request_id": answer.request_id, "refusal": answer.refusal and str(answer.refusal)}
        for row, answer in enumerate(answers, start=1)
    ]
    show(as_json, told, lambda screen: screen.answers(answers))
    sys.exit(any(answer.refusal for answer in answers))


@cli.command("settle")
@run_argument
@click.option("--due-within", type=parse_duration, help="Only what is due by then, such as 7d, 12h or 30m from now.")
@address_option
@json_option
def settle_command(run_dir: str, due_within: timedelta | None, address: str | None, as_json: bool) -> None:
    """Retrain exactly what was only patched, and finish what was interrupted."""
    with _working_on(open_run(run_dir, address=address), as_json) as (run, progress):
        report = run.settle(due_within=due_within, progress=progress)
    show(as_json, report, lambda screen: screen.settled(report))


@cli.command("rebuild")
@run_argument
@click.option("--data", "data_file", help="The file that the run was trained from, where samples are lost.")
@address_option
@json_option
def rebuild_command(run_dir: str, data_file: str | None, address: str | None, as_json: bool) -> None:
    """Make good what is missing or changed: samples from a copy, states by training again from the last sound one."""
    with _working_on(open_run(run_dir, address=address), as_json) as (run, progress):
        report = run.rebuild(data=data_file, progress=progress)
    show(as_json, report, lambda screen: screen.rebuilt(report))


@contextmanager
def _working_on(run: Run, as_json: bool) -> Iterator[tuple[Run, Progress]]:
    """Progress is shown for people, and what the run started is ended."""
    with run, stage_progress(shards=run.config.partition.shards, is_shown=not as_json) as progress:
        yield run, progress


@cli.command("status")
@run_argument
@address_option
@json_option
def status_command(run_dir: str, address: str | None, as_json: bool) -> None:
    """Show what every shard serves, how far the requests are, and where the shards live of a run that is up."""
    run = open_run(run_dir, address=address)
    locations, unknown = _locations(run)
    status = run.status(locations=locations)
    show(as_json, status, lambda screen: screen.status(status, unknown=unknown))


def _locations(run: Run) -> tuple[ShardLocations, str | None]:
    """returns: where its shards live, and why that is not known where the cluster is out of reach"""
    try:
        return run.locations(), None
    except DeviceUnavailable as problem:
        return {}, str(problem)
