import subprocess
import sys

from raymu.runtime.jobs.package import JobCommand, JobLog

PROGRAM = """
import sys
from raymu.cli.job import run_ticket
from raymu.runtime.jobs.package import JobCommand
sys.exit(run_ticket(JobCommand.parse(sys.stdin.buffer.read())))
"""


def run(*command: str) -> tuple[int, JobLog, str, str]:
    """As Ray does: both streams go into one log. returns: the job's exit code, its log, its text, what the client shows"""
    ticket = JobCommand.issue(command)
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=ticket.dump(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    log, text = JobLog(ticket), found.stdout.decode()
    return found.returncode, log, text, log.feed(text) + log.end()


def test_a_job_hands_over_what_its_command_writes() -> None:
    code, log, text, shown = run("--version")
    assert log.outcome is not None
    assert (code, log.outcome.code, log.outcome.complaint, shown) == (0, 0, "", "")
    assert "version" in log.outcome.output
    assert "version" not in text


def test_a_refusal_comes_back_and_the_log_does_not_tell_it() -> None:
    code, log, text, shown = run("status", "nowhere", "--json")
    assert log.outcome is not None
    assert (code, log.outcome.code, log.outcome.output, shown) == (2, 2, "", "")
    assert "nowhere: is not a run" in log.outcome.complaint
    assert "nowhere" not in text
