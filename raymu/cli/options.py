"""Options that commands share, and results printed as text or JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from raymu.cli.json_document import emit
from raymu.cli.parameter_types import DIRECTORY
from raymu.core.verdict import Verdict
from raymu.errors import RaymuError, ResultUnprinted
from raymu.text import one_line

if TYPE_CHECKING:
    from raymu.api import Run
    from raymu.console.screen import Screen
    from raymu.service.audit.report import AuditReport
    from raymu.service.verify.verify import Verification

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
_TAKE_OVER = "raymu.take_over"
take_over_option = click.option(
    "--take-over",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, _param, value: ctx.meta.update({_TAKE_OVER: value}),
    help="Take the run over from a coordinator that is up on a cluster which is out of reach.",
)
json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document on standard output.",
)
address_option = click.option(
    "--address",
    metavar="ADDRESS",
    envvar="RAY_ADDRESS",
    help="The Ray cluster to use instead of the configured one. The variable RAY_ADDRESS sets it too.",
)


def open_run(run_dir: str, *, address: str | None = None) -> Run:
    """Open the run that a command names. With --trust, the user's list of what is trusted gets what the run asks for."""
    from raymu import api

    chosen = click.get_current_context().meta
    is_trusted = is_trusting()
    run = api.open_run(run_dir, address=address, trust=is_trusted, take_over=bool(chosen.get(_TAKE_OVER)))
    if is_trusted:
        from raymu.core.trust import demands_of
        from raymu.store.trust_list import remember

        remember(demands_of(run.config))
    return run


def is_trusting() -> bool:
    """Return whether the command at work has --trust."""
    return bool(click.get_current_context().meta.get(_TRUST))


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
    except RaymuError as error:  # of the storage, which what is printed is read from
        raise ResultUnprinted(str(error), shown_by) from error


def keep_verdict(run: Run, result: Verification | AuditReport) -> None:
    """Write a verdict into the run, for `raymu serve`. What stands in the way is said, and changes no exit code."""
    try:
        run.keep_verdict(result)
    except RaymuError as problem:
        click.echo(
            f"raymu: the verdict is not kept in the run, so that no metric shows it: {one_line(problem)}", err=True
        )


def show(as_json: bool, record: Any, draw: Callable[[Screen], None]) -> None:
    """Print a result as the JSON document of the command at work, or draw it for people."""
    if as_json:
        from raymu.store.codec import to_tree

        name = click.get_current_context().command.name
        emit(str(name), record if isinstance(record, dict) else to_tree(record))
    else:
        from raymu.console.screen import Screen

        draw(Screen())
