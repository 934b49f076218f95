"""With --json, every command prints one document that names its schema and version, also if it is refused."""

import json

import click
import pytest

from raymu.cli import run_command
from raymu.cli.group import SECTIONS
from raymu.cli.json_document import emit

COMMANDS = [command.name.split() for commands in SECTIONS.values() for command in commands]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_refused_command_line_is_a_document_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, line = run_command([*words, "--json", "--no-such-option"])
    document = json.loads(capsys.readouterr().out)
    assert code == 2
    assert document == {"schema": "raymu.error", "version": 1, "error": line.removeprefix("raymu: "), "exit_code": 2}


def test_a_refusal_without_json_prints_nothing_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["status", "nowhere"])[0] == 2
    assert capsys.readouterr().out == ""


def test_numbers_that_json_does_not_have_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(click.Command("tune")):
        emit("tune", {"error": float("nan"), "trials": [{"seconds": float("inf")}, {"seconds": 1.5}]})
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document["error"] is None
    assert document["trials"] == [{"seconds": None}, {"seconds": 1.5}]
