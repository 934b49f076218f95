import json
import subprocess
import sys
from pathlib import Path

from raymu.runtime.parcel import TICKET, JobLog


def run(folder: Path, *command: str) -> tuple[int, JobLog, str]:
    """As Ray does: both streams go into one log. returns: the job's exit code, its log, and what of it is for people"""
    (folder / TICKET).write_text(json.dumps({"command": command, "mark": "raymu-5"}))
    program = [sys.executable, "-m", "raymu.cli.job"]
    found = subprocess.run(
        program, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
    )
    log = JobLog("raymu-5")
    return found.returncode, log, log.feed(found.stdout) + log.end()


def test_a_job_hands_over_what_its_command_writes(tmp_path: Path) -> None:
    code, log, said = run(tmp_path, "--version")
    assert log.outcome is not None
    assert (code, log.outcome.code, said) == (0, 0, "")
    assert "version" in log.outcome.output
    assert not (tmp_path / TICKET).exists()


def test_a_refusal_goes_into_the_log_and_its_exit_code_comes_back(tmp_path: Path) -> None:
    code, log, said = run(tmp_path, "status", "nowhere", "--json")
    assert log.outcome is not None
    assert (code, log.outcome.code, log.outcome.output) == (2, 2, "")
    assert "nowhere: is not a run" in said
    assert said.count("\n") == 1
