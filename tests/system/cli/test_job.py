import json
import subprocess
import sys

from raymu.runtime.jobs.result import JobLog, ResultKey


def run(*words: str) -> tuple[int, JobLog, str, str]:
    """Run a job's program as Ray does, with both streams in one log.

    Returns:
        Its exit code, the log as the client reads it, the log's text, and what the client shows.
    """
    key = ResultKey()
    process = subprocess.run(
        [sys.executable, "-m", "raymu.cli.job_runner", key.public, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    log, text = JobLog(key), process.stdout.decode()
    return process.returncode, log, text, log.feed(text) + log.end()


def test_a_job_returns_what_its_command_writes() -> None:
    code, log, text, shown = run("--version")
    assert log.result is not None
    assert (code, log.result.exit_code, log.result.error, shown) == (0, 0, "", "")
    assert "version" in log.result.output
    assert "version" not in text


def test_a_refusal_is_returned_and_is_not_readable_in_the_log() -> None:
    code, log, text, shown = run("status", "nowhere", "--json")
    assert log.result is not None
    assert (code, log.result.exit_code, shown) == (2, 2, "")
    assert json.loads(log.result.output)["schema"] == "raymu.error"
    assert "nowhere: is not a run" in log.result.error
    assert "nowhere" not in text
