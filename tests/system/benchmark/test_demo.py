"""What the demonstration leaves is enough to go on with: the commands that it names work as they are printed."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from raymu.benchmark.demo import write_demo_config
from raymu.benchmark.demo_result import next_commands
from raymu.cli.group import cli


def test_the_next_commands_end_with_a_verified_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my demo"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    commands = next_commands(str(write_demo_config(Path("my demo"))))
    results = [CliRunner().invoke(cli, shlex.split(command)[1:]) for command in commands]
    assert [result.exit_code for result in results] == [0, 0, 0, 0]
    assert "verdict: pass" in results[-1].output
