"""The command line: `group` names all commands, `commands` has one module for each, `options` what they share.

Exit codes: 0 done, 1 a negative verdict, 2 bad input (one line on standard error; nothing has changed), 3 inconclusive,
4 begun and not finished, or done and not printed (one line on standard error, with the requests that stay accepted).
With --json, a refusal and a failure are a document on standard output too.
"""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from raymu.cli.group import cli
from raymu.cli.json_document import Printed, emit_error
from raymu.cli.streams import outlive_readers
from raymu.errors import UNFINISHED_EXIT_CODE, RaymuError, unfinished_requests
from raymu.imports import freeze_own, own_process
from raymu.text import one_line, plural

__all__ = ["main", "run_command"]

_NO_ROOM = ("can't start new thread", "bad allocation", "std::bad_alloc")
"""Messages of a RuntimeError of Python's or PyTorch's that comes of the machine."""
_LONGEST_PROBLEM = 1000
"""Characters of a line that says why a command was refused."""


def main() -> None:
    """Run the command that the process was started with, and exit with its code."""
    own_process()
    outlive_readers()
    if not sys.flags.dev_mode:  # objects that a refusal left half made complain when they are let go
        sys.unraisablehook = lambda _: None
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    code, error = run_command(sys.argv[1:])
    if error:
        with suppress(OSError):
            click.echo(error, err=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # the interpreter would try again at its end, and change the exit code
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    freeze_own()
    sys.exit(code)


def run_command(words: Sequence[str]) -> tuple[int, str]:
    """Run one command.

    Args:
        words: The command and its arguments.

    Returns:
        The exit code, and one line that says why the command was refused; the line is empty otherwise.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # open files and clusters are closed on the way out
    printed = Printed()
    waiting = logging.getLogger("raymu.waiting")
    level = waiting.level
    if "--json" in words:  # a program has no use for what is waited for
        waiting.setLevel(logging.ERROR)
    try:
        cli(list(words), prog_name="raymu", standalone_mode=False, obj=printed)
    except SystemExit as stop:
        return int(stop.code or 0), ""
    except BaseException as error:
        if (refusal := _refusal(error)) is None:
            raise
        code, problem, fields = refusal
        if "--json" in words and not printed.has_document:
            emit_error(error, problem, code, **fields)
        return code, f"raymu: {problem}"
    finally:
        waiting.setLevel(level)
    return 0, ""


def _refusal(error: BaseException) -> tuple[int, str, dict[str, Any]] | None:
    """Return the exit code of an error, the line that tells it, and fields of its document; None if raymu is wrong."""
    match error:
        case RaymuError():
            code, problem = error.exit_code, str(error)
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "raymu"
            message = error.format_message()
            end = "" if message.endswith((".", "?", ")")) else "."
            code, problem = 2, f"{message}{end} Try '{command} --help'."
        case click.ClickException():
            code, problem = 2, error.format_message()
        case OSError() | MemoryError():  # errors of the machine that no lower layer has explained by a RaymuError
            kind = f"{type(error).__name__}: {error}".removesuffix(": ")
            code, problem = 2, f"the machine failed ({kind}); check its disk, its memory and its permissions"
        case ImportError():  # there may be too little memory to load a library, or it is not installed
            kind = one_line(error, longest=200)
            code, problem = (
                2,
                f"a library cannot be loaded ({kind}); check the machine's memory, or install raymu again",
            )
        case RuntimeError() if str(error) in _NO_ROOM:
            code, problem = 2, f"the machine failed ({error}); check its memory and the limits of its processes"
        case click.Abort() | KeyboardInterrupt():
            code, problem = 130, "interrupted"
        case _:
            return None
    return _unless_unfinished(error, code, one_line(problem, longest=_LONGEST_PROBLEM))


def _unless_unfinished(error: BaseException, code: int, problem: str) -> tuple[int, str, dict[str, Any]]:
    """Return the facts of an error, with another exit code and what stays if it came after a commit."""
    request_ids = None if isinstance(error, click.UsageError) else unfinished_requests(error)
    if request_ids is None:
        return code, problem, {}
    shown = ", ".join(request_ids[:3]) + (", ..." if len(request_ids) > 3 else "")
    stays = f"{plural(len(request_ids), 'request')} accepted before ({shown})" if request_ids else "what was begun"
    line = f"{one_line(problem)}; {stays} stays: `raymu settle` finishes it"
    code = 130 if code == 130 else UNFINISHED_EXIT_CODE
    return code, line, {"request_ids": list(request_ids)}
