"""The command line: `group` names all commands, `commands` has one module for each, `options` what they share.

Exit codes: 0 done, 1 a negative verdict, 2 bad input (one line on standard error), 3 inconclusive.
"""

import signal
import sys
from collections.abc import Sequence

import click

from raymu.cli.group import cli
from raymu.errors import RaymuError
from raymu.text import one_line

__all__ = ["main", "run_command"]


def main() -> None:
    """Run the command that the process was started with, and exit with its code."""
    code, error = run_command(sys.argv[1:])
    if error:
        click.echo(error, err=True)
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
        return error.exit_code, _error_line(str(error))
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "raymu"
        message = error.format_message()
        end = "" if message.endswith((".", "?", ")")) else "."
        return 2, _error_line(f"{message}{end} Try '{command} --help'.")
    except click.ClickException as error:
        return 2, _error_line(error.format_message())
    except (OSError, MemoryError) as error:  # errors of the machine that no lower layer has explained by a RaymuError
        problem = f"the machine failed ({type(error).__name__}: {error})"
        return 2, _error_line(f"{problem}; check its disk, its memory and its permissions")
    except (click.Abort, KeyboardInterrupt):
        return 130, _error_line("interrupted")
    return 0, ""


def _error_line(text: str) -> str:
    return f"raymu: {one_line(text, longest=1000)}"
