"""What a submitted job runs: `python3 -m raymu.cli.job ID`. Its command waits for it, under its id, with the cluster."""

import os
import sys
from collections.abc import Sequence
from tempfile import TemporaryFile

from raymu.cli import run_command
from raymu.runtime.jobs.package import CommandResult, JobCommand, begin_line, outcome_line

_STANDARD_OUTPUT = 1


def main() -> None:
    from raymu.runtime.jobs.command import take  # Ray's own: not for who only runs a ticket

    [job_id] = sys.argv[1:]
    sys.exit(run_ticket(take(job_id, address=os.environ["RAY_ADDRESS"])))


def run_ticket(ticket: JobCommand) -> int:
    """Run a ticket's command; its standard output and its refusal go into the job's log in one piece, sealed.

    returns: its exit code
    """
    _write(begin_line(ticket))
    outcome = _captured(ticket.command)
    sys.stderr.flush()
    _write(outcome_line(ticket, outcome))
    return outcome.code


def _captured(command: Sequence[str]) -> CommandResult:
    """Ray's log has standard output and standard error in one: nobody could tell the document from the rest."""
    with TemporaryFile() as file:
        own = os.dup(_STANDARD_OUTPUT)
        os.dup2(file.fileno(), _STANDARD_OUTPUT)
        try:
            code, complaint = run_command(command)
            sys.stdout.flush()
        finally:
            os.dup2(own, _STANDARD_OUTPUT)
            os.close(own)
        file.seek(0)
        return CommandResult(code=code, output=file.read().decode(errors="replace"), complaint=complaint)


def _write(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
