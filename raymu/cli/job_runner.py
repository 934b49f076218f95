"""The program that a submitted job runs: `python3 -m raymu.cli.job_runner PUBLIC_KEY COMMAND...`."""

import os
import sys
from collections.abc import Sequence
from tempfile import TemporaryFile

from raymu.cli import run_command
from raymu.runtime.jobs.result import CommandResult, encrypt

_STANDARD_OUTPUT = 1


def main() -> None:
    """Run a command, and write its result into the job's log, encrypted. Everything else of the log is plain."""
    public_key, *words = sys.argv[1:]
    result = _captured(words)
    sys.stderr.flush()
    sys.stdout.write(encrypt(result, public_key))
    sys.stdout.flush()
    sys.exit(result.exit_code)


def _captured(words: Sequence[str]) -> CommandResult:
    """Run a command with its standard output in a file. Ray's log does not separate it from standard error."""
    with TemporaryFile() as file:
        own = os.dup(_STANDARD_OUTPUT)
        os.dup2(file.fileno(), _STANDARD_OUTPUT)
        try:
            code, error = run_command(words)
            sys.stdout.flush()
        finally:
            os.dup2(own, _STANDARD_OUTPUT)
            os.close(own)
        file.seek(0)
        return CommandResult(exit_code=code, output=file.read().decode(errors="replace"), error=error)


if __name__ == "__main__":
    main()
