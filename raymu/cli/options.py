"""Options that commands share, requests read from them, and results printed as text or JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from raymu.cli.json_document import emit
from raymu.cli.parameter_types import DIRECTORY, FILE
from raymu.core.verdict import Verdict
from raymu.errors import RequestInvalid, ResultUnprinted

if TYPE_CHECKING:
    from raymu.api import Run
    from raymu.console.screen import Screen
    from raymu.service.requests.revocation import Revocation

Function = TypeVar("Function", bound=Callable[..., None])

EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}

_TRUST = "raymu.trust"
run_argument = click.argument("run_dir", metavar="RUN", type=DIRECTORY)
trust_option = click.option(
    "--trust",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, _param, value: ctx.meta.update({_TRUST: value}),
    help="Run the code and make the connections that the run's settings name, now and later. Runs that you trained are "
    "trusted already.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
address_option = click.option(
    "--address",
    metavar="ADDRESS",
    envvar="RAY_ADDRESS",
    help="The Ray cluster to use instead of the configured one. The variable RAY_ADDRESS sets it too.",
)


def open_run(run_dir: str, *, address: str | None = None) -> Run:
    """Open the run that a command names. With --trust, the user's list of what is trusted gets what the run asks for."""
    from raymu import api

    is_trusted = bool(click.get_current_context().meta.get(_TRUST))
    run = api.open_run(run_dir, address=address, trust=is_trusted)
    if is_trusted:
        from raymu.core.trust import demands_of
        from raymu.store.trust_list import remember

        remember(demands_of(run.config))
    return run


def request_options(function: Function) -> Function:
    """Add the options that describe one request."""
    for option in (
        click.option("--boundary", metavar="BOUNDARY", help="The hybrid boundary, as 0.35, 30s or deadline:60s."),
        click.option(
            "--strategy",
            type=click.Choice(["sisa", "dpus", "hs", "ohs"]),
            help="The strategy to use instead of the configured one.",
        ),
        click.option("--owner", metavar="OWNER", help="Name all samples of this owner."),
        click.option("--ids-file", type=FILE, help="Name the sample ids in a text, CSV or Parquet file."),
        click.option("--id", "ids", metavar="ID", multiple=True, help="Name a sample by its id. Repeat it for more."),
    ):
        function = option(function)
    return function


def read_revocation(run_dir: str, ids: tuple[str, ...], ids_file: str | None, **request: Any) -> Revocation:
    """Return the request to a run that the options describe. Raise RequestInvalid."""
    from raymu.service.requests.revocation import Revocation

    if ids_file is None:
        return Revocation(ids=ids, **request)
    if ids:
        raise RequestInvalid("give --id or --ids-file, not both")
    from raymu.data.ids import read_ids

    sample_ids = tuple(read_ids(ids_file, open_run(run_dir).config.data))
    if not sample_ids:
        raise RequestInvalid(f"{ids_file}: names no samples; a request needs at least one")
    return Revocation(ids=sample_ids, **request)


def warn_of_waiting(run: Run) -> None:
    """Say on standard error what predictions are made from while accepted requests wait to be carried out."""
    if waiting := run.waiting():
        click.echo(f"raymu: {waiting}", err=True)


@contextmanager
def printing_after_commit(shown_by: str) -> Iterator[None]:
    """Enclose the printing of what was committed: exit code 2 would say that nothing has changed.

    Args:
        shown_by: The command that shows it.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        raise ResultUnprinted(error.strerror or str(error), shown_by) from error


def show(as_json: bool, record: Any, draw: Callable[[Screen], None]) -> None:
    """Print a result as the JSON document of the command at work, or draw it for people."""
    if as_json:
        from raymu.store.codec import to_tree

        name = click.get_current_context().command.name
        emit(str(name), record if isinstance(record, dict) else to_tree(record))
    else:
        from raymu.console.screen import Screen

        draw(Screen())
