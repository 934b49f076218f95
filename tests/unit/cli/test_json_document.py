"""With --json, every command prints one document that names its schema and version, also if it is refused."""

import json
from dataclasses import fields

import click
import pytest

from raymu.cli import run_command
from raymu.cli.group import SECTIONS
from raymu.cli.json_document import emit
from raymu.data.convert import ConversionResult
from raymu.report.write import ReportWritten
from raymu.service.coordinator.calls import ExtendResult, RebuildResult, SettleResult, TrainingResult
from raymu.service.planning.capacity import CapacityPlan
from raymu.service.planning.forecast import Forecast
from raymu.service.prediction import Evaluation
from raymu.service.status import RunStatus
from raymu.service.tuning.report import TuningReport
from raymu.service.verify.verify import Verification
from tests.support.format_pages import PAGES, documented

RECORDS = {
    "import": ConversionResult,
    "train": TrainingResult,
    "extend": ExtendResult,
    "rebuild": RebuildResult,
    "settle": SettleResult,
    "plan": Forecast,
    "simulate": CapacityPlan,
    "tune": TuningReport,
    "status": RunStatus,
    "verify": Verification,
    "evaluate": Evaluation,
    "report": ReportWritten,
}
"""Command -> the record that its document shows."""
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


def test_every_command_has_its_schema_on_the_page() -> None:
    schemas = {f"raymu.{name}" for words in COMMANDS for name in words[:1] if name not in ("job", "token")} | {
        "raymu.error"
    }
    assert schemas - documented("json") == set()


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_of_a_document_is_on_the_page(name: str) -> None:
    [line] = [
        row for row in (PAGES / "json.md").read_text(encoding="utf-8").splitlines() if f"| `raymu.{name}` |" in row
    ]
    assert [field.name for field in fields(RECORDS[name]) if f"`{field.name}`" not in line] == []
