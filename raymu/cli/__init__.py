"""The command line: `group` names all commands, `commands` has one module for each, `options` what they share.

Exit codes: 0 done, 1 a negative verdict, 2 bad input (one line on standard error; nothing has changed), 3 inconclusive,
4 begun and not finished, or done and not printed (one line on standard error, with the requests that stay accepted).
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from raymu.cli.group import cli
from raymu.errors import UNFINISHED_EXIT_CODE, RaymuError, unfinished_requests
from raymu.text import one_line, plural

__all__ = ["main", "run_command"]


def main() -> None:
    """Run the command that the process was started with, and exit with its code."""
    code, error = run_command(sys.argv[1:])
    if error:
        with suppress(OSError):
            click.echo(error, err=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # the interpreter would try again at its end, and change the exit code
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def run_command(words: Sequence[str]) -> tuple[int, str]:
    """Run one command.

    Args:
        words: The command and its arguments.

    Returns:
        The exit code, and one line that says why the command was refused; the line is empty otherwise.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # open files and clusters are closed on the way out
    try:
        cli(list(words), prog_name="raymu", standalone_mode=False)
    except SystemExit as stop:
        return int(stop.code or 0), ""
    except RaymuError as error:
        return _failed(error, error.exit_code, str(error), words)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "raymu"
        message = error.format_message()
        end = "" if message.endswith((".", "?", ")")) else "."
        return 2, _error_line(f"{message}{end} Try '{command} --help'.")
    except click.ClickException as error:
        return 2, _error_line(error.format_message())
    except (OSError, MemoryError) as error:  # errors of the machine that no lower layer has explained by a RaymuError
        problem = f"the machine failed ({type(error).__name__}: {error})"
        return _failed(error, 2, f"{problem}; check its disk, its memory and its permissions", words)
    except (click.Abort, KeyboardInterrupt) as error:
        return 130, _failed(error, 130, "interrupted", words)[1]
    return 0, ""


def _failed(error: BaseException, code: int, problem: str, words: Sequence[str]) -> tuple[int, str]:
    """Return the exit code and the line of an error. One that came after a commit says what stays.

    With --json it is a document on standard output too.
    """
    request_ids = unfinished_requests(error)
    if request_ids is None:
        return code, _error_line(problem)
    shown = ", ".join(request_ids[:3]) + (", ..." if len(request_ids) > 3 else "")
    stays = f"{plural(len(request_ids), 'request')} accepted before ({shown})" if request_ids else "what was begun"
    if "--json" in words:
        document = {"error": problem, "exit_code": UNFINISHED_EXIT_CODE, "request_ids": request_ids}
        with suppress(OSError):
            click.echo(json.dumps(document, indent=2))
    return UNFINISHED_EXIT_CODE, _error_line(f"{one_line(problem)}; {stays} stays: `raymu settle` finishes it")


def _error_line(text: str) -> str:
    return f"raymu: {one_line(text, longest=1000)}"
