"""What commands have in common: options, how they are read, and how a result is shown."""

import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from raymu.api import Revocation
from raymu.console import Screen
from raymu.core.verdict import Verdict
from raymu.data.ids import read_ids
from raymu.errors import RequestInvalid
from raymu.store.codec import to_tree

Command = TypeVar("Command", bound=Callable[..., None])

EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
run_argument = click.argument("run_dir", metavar="RUN")
address_option = click.option(
    "--address", envvar="RAY_ADDRESS", help="Ray cluster to work on, instead of the one that is configured."
)
data_option = click.option("--data", "data_file", required=True, help="Parquet or Arrow file.")


def parse_duration(text: str) -> timedelta:
    """A span of time such as 7d, 12h, 30m or 45s; within 100,000 days."""
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is None or not number.isdecimal() or len(number) > 5:
        raise click.BadParameter(f"{text!r} is no span of time; write 7d, 12h, 30m or 45s")
    return timedelta(**{unit: int(number)})


def parse_nonnegative(text: str) -> float:
    """A number from 0 up."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        raise click.BadParameter(f"{text!r} is no number from 0 up")
    return value


def parse_datetime(text: str) -> datetime:
    """A date or time in ISO 8601; on this machine's clock where it names no zone."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{text!r} is no time; write 2030-01-31 or 2030-01-31T12:00+01:00") from error


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


def named_revocation(ids: tuple[str, ...], ids_file: str | None, **request: Any) -> Revocation:
    """What the request options name. Raises RequestInvalid."""
    if ids and ids_file is not None:
        raise RequestInvalid("give --id or --ids-file, not both")
    named = ids if ids_file is None else tuple(read_ids(ids_file))
    if ids_file is not None and not named:
        raise RequestInvalid(f"{ids_file}: names no samples; a request needs at least one")
    return Revocation(ids=named, **request)


def show(as_json: bool, record: Any, draw: Callable[[Screen], None]) -> None:
    """A result for people, or as one JSON document."""
    if as_json:
        click.echo(json.dumps(record if isinstance(record, dict) else to_tree(record), indent=2))
    else:
        draw(Screen())
