"""What a submitted job runs: `python3 -m raymu.cli.job`. Its command lies beside it, not in the entrypoint."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from raymu.cli import main
from raymu.runtime.parcel import Outcome, begin_line, outcome_line, take_ticket

_STANDARD_OUTPUT = 1


def run_ticket(folder: Path) -> int:
    """Run the command of the ticket in a folder; its standard output goes into the job's log in one piece.

    returns: its exit code
    """
    ticket = take_ticket(folder)
    _write(begin_line(ticket.mark))
    outcome = _captured(ticket.command)
    sys.stderr.flush()
    _write(outcome_line(ticket.mark, outcome))
    return outcome.code


def _captured(command: Sequence[str]) -> Outcome:
    """Ray's log has standard output and standard error in one: nobody could tell the document from the rest."""
    with TemporaryFile() as file:
        own = os.dup(_STANDARD_OUTPUT)
        os.dup2(file.fileno(), _STANDARD_OUTPUT)
        try:
            code = _exit_code(command)
            sys.stdout.flush()
        finally:
            os.dup2(own, _STANDARD_OUTPUT)
            os.close(own)
        file.seek(0)
        return Outcome(code=code, output=file.read().decode(errors="replace"))


def _exit_code(command: Sequence[str]) -> int:
    sys.argv = ["raymu", *command]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _write(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run_ticket(Path.cwd()))
