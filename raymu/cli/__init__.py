"""The command line. 0: done; 1: a negative verdict; 2: bad input, said in one line; 3: inconclusive."""

import signal
import sys

import click

from raymu.cli import clusters, models, planning, proof, runs
from raymu.cli.group import cli
from raymu.errors import RaymuError, in_one_line

__all__ = ["clusters", "main", "models", "planning", "proof", "runs"]


def main() -> None:
    """Entry point: turns every refusal into one line and an exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is open is closed on the way out
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
