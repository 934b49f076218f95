"""Options that name samples, owners and dates, on the command line, in files or on standard input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from raymu.cli.options import open_run
from raymu.cli.parameter_types import DATE_FORMAT, DATE_FORMAT_KEY, FILE
from raymu.errors import RequestInvalid
from raymu.text import plural

if TYPE_CHECKING:
    from raymu.core.records import SampleId
    from raymu.service.requests.revocation import Revocation

Function = TypeVar("Function", bound=Callable[..., None])

IDS_FILE_HELP = "in a file: text, CSV, JSON lines, Parquet or Arrow; - is standard input."
ignore_unknown_option = click.option(
    "--ignore-unknown",
    is_flag=True,
    help="Leave out ids that the run does not hold, that are revoked already or named twice, and carry out the rest.",
)
date_format_option = click.option(
    "--date-format",
    type=DATE_FORMAT,
    is_eager=True,  # so that dates are read by it
    callback=lambda ctx, _param, value: (ctx.meta.update({DATE_FORMAT_KEY: value}), value)[1],
    help="How dates such as 03.04.2026 are written: day-first, month-first, or a pattern such as %d.%m.%Y.",
)


def request_options(function: Function) -> Function:
    """Add the options that describe one request."""
    for option in (
        ignore_unknown_option,
        click.option("--boundary", metavar="BOUNDARY", help="The hybrid boundary, as 0.35, 30s or deadline:60s."),
        click.option(
            "--strategy",
            type=click.Choice(["sisa", "dpus", "hs", "ohs"]),
            help="The strategy to use instead of the configured one.",
        ),
        click.option("--owner-file", type=FILE, help="Name the owner in a file instead; - is standard input."),
        click.option("--owner", metavar="OWNER", help="Name all samples of this owner."),
        click.option("--ids-file", type=FILE, help=f"Name the sample ids {IDS_FILE_HELP}"),
        click.option("--id", "ids", metavar="ID", multiple=True, help="Name a sample by its id. Repeat it for more."),
    ):
        function = option(function)
    return function


def read_revocation(
    run_dir: str,
    ids: tuple[str, ...],
    ids_file: str | None,
    owner: str | None,
    owner_file: str | None,
    **request: Any,
) -> Revocation:
    """Return the request to a run that the options describe. Raise RequestInvalid."""
    from raymu.service.requests.revocation import Revocation

    if ids and ids_file is not None:
        raise RequestInvalid("give --id or --ids-file, not both")
    if owner is not None and owner_file is not None:
        raise RequestInvalid("give --owner or --owner-file, not both")
    require_one_reader(ids_file, owner_file)
    sample_ids: Sequence[SampleId] = ids
    named_owner: SampleId | None = owner
    if ids_file is not None:
        sample_ids = ids_in_file(run_dir, ids_file)
        if not sample_ids:
            raise RequestInvalid(f"{ids_file}: names no samples; a request needs at least one")
    if owner_file is not None:
        owners = list(dict.fromkeys(owners_in_file(run_dir, owner_file)))
        if len(owners) != 1:
            raise RequestInvalid(
                f"{owner_file}: names {plural(len(owners), 'owner')}, and a request has one; give many as "
                "--requests-file, with a column owner"
            )
        [named_owner] = owners
    return Revocation(ids=tuple(sample_ids), owner=named_owner, **request)


def ids_in_file(run_dir: str, path: str) -> tuple[SampleId, ...]:
    """Return the ids in a file, and say on standard error what was converted. Raise RequestInvalid, DataInvalid."""
    from raymu.data.ids import read_ids

    named = read_ids(path, open_run(run_dir).config.data)
    say_notes(named.notes)
    return named.values


def owners_in_file(run_dir: str, path: str) -> tuple[SampleId, ...]:
    """Return the owners in a file, and say on standard error what was converted. Raise RequestInvalid, DataInvalid."""
    from raymu.data.ids import read_owners

    named = read_owners(path, open_run(run_dir).config.data)
    say_notes(named.notes)
    return named.values


def keys_in_file(path: str) -> tuple[str, ...]:
    """Return the idempotency keys in a file, and say on standard error what was converted. Raise RequestInvalid."""
    from raymu.data.ids import read_keys

    named = read_keys(path)
    say_notes(named.notes)
    return tuple(str(key) for key in named.values)


def say_notes(notes: Sequence[str]) -> None:
    """Print on standard error what was concluded, converted and left out of a file."""
    for note in dict.fromkeys(notes):
        click.echo(f"raymu: {note}", err=True)


def require_one_reader(*paths: str | None) -> None:
    """Raise RequestInvalid if standard input is named twice."""
    if paths.count("-") > 1:
        raise RequestInvalid("standard input can be read once; give - to one option alone")
