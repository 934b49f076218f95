"""The command line. 0: done; 1: a negative verdict; 2: bad input, said in one line; 3: inconclusive."""

import signal
import sys
from collections.abc import Sequence

import click

from raymu.cli import clusters, models, planning, proof, runs
from raymu.cli.group import cli
from raymu.errors import RaymuError
from raymu.text import one_line

__all__ = ["clusters", "main", "models", "planning", "proof", "run_command", "runs"]


def main() -> None:
    """Entry point."""
    code, complaint = run_command(sys.argv[1:])
    if complaint:
        click.echo(complaint, err=True)
    sys.exit(code)


def run_command(words: Sequence[str]) -> tuple[int, str]:
    """Turns every refusal into an exit code and one line. returns: both; without a refusal, the line is empty"""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is open is closed on the way out
    try:
        cli(list(words), prog_name="raymu", standalone_mode=False)
    except SystemExit as verdict:
        return int(verdict.code or 0), ""
    except RaymuError as error:
        return error.exit_code, _complaint(str(error))
    except click.ClickException as error:
        return 2, _complaint(f"{error.format_message()} (see raymu --help)")
    except (OSError, MemoryError) as error:  # of the machine, where nobody nearer could say more
        problem = f"the machine gave out ({type(error).__name__}: {error})"
        return 2, _complaint(f"{problem}; see to its disk, its memory and its permissions")
    except (click.Abort, KeyboardInterrupt):
        return 130, _complaint("interrupted")
    return 0, ""


def _complaint(text: str) -> str:
    return f"raymu: {one_line(text, longest=1000)}"
