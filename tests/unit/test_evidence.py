"""The numbers in the READMEs are those of the results, and nobody's memory."""

import re
from pathlib import Path

import pytest
from document_findings import DOCUMENT_FINDINGS, DocumentFinding
from findings import FINDINGS, Finding
from rows import Row, mean, read_rows, spread, where, write_rows
from tables import READMES, kept, with_tables, without_tables

EXPERIMENTS = READMES[1].parent
MEASURED = re.compile(r"\d[\d,.]*\s?(?:%|ms\b|points\b|x\b|times\b)")
"""What reads like a measurement."""
CHOSEN = {"1%"}
"""What reads like one and is a setting."""


@pytest.fixture(params=READMES, ids=lambda path: path.parent.name)
def readme(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text(encoding="utf-8")


def test_every_table_is_what_the_results_give(readme: str) -> None:
    assert readme == with_tables(readme), "run experiments/tables.py"


def test_a_changed_result_changes_the_tables(readme: str) -> None:
    def other(name: str) -> list[Row]:
        return [
            {key: value * 1.5 if isinstance(value, float) else value for key, value in row.items()}
            for row in kept(name)
        ]

    assert readme != with_tables(readme, other)


def test_no_measurement_is_written_by_hand(readme: str) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", without_tables(readme), flags=re.DOTALL)
    assert [found for found in MEASURED.findall(prose) if found not in CHOSEN] == []


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_every_result_and_figure_that_is_named_is_there(path: Path) -> None:
    named = re.findall(r"\]\(([^)]+\.(?:csv|json|png|svg|py|md|yaml))\)", path.read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (path.parent / name).exists()] == []


def test_every_script_that_measures_is_run_and_told_of() -> None:
    imports_it = re.compile(r"^from workbench import .*\bexperiment\b", flags=re.MULTILINE)
    scripts = {path.stem for path in EXPERIMENTS.glob("*.py") if imports_it.search(path.read_text(encoding="utf-8"))}
    assert scripts == {finding.experiment for finding in FINDINGS}


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.experiment)
def test_every_finding_has_a_question_a_figure_and_no_number_in_its_conclusion(finding: Finding) -> None:
    assert finding.question.endswith("?")
    drawn = [EXPERIMENTS / "figures" / f"{name}.{ending}" for name in finding.figures for ending in ("png", "svg")]
    assert [path for path in drawn if not path.is_file()] == []
    assert not re.search(r"\d", finding.shows)


@pytest.mark.parametrize("finding", DOCUMENT_FINDINGS, ids=lambda finding: finding.script)
def test_every_document_has_a_question_a_sentence_and_no_number_in_its_conclusion(finding: DocumentFinding) -> None:
    assert finding.question.endswith("?")
    assert re.search(r"\d", finding.sentence)
    assert not re.search(r"\d", finding.shows)


def test_every_script_that_keeps_a_document_is_told_of() -> None:
    keeps_one = re.compile(r"^from documents import .*\b(keep|RESULTS)\b", flags=re.MULTILINE)
    scripts = {path.stem for path in EXPERIMENTS.glob("*.py") if keeps_one.search(path.read_text(encoding="utf-8"))}
    assert scripts == {finding.script for finding in DOCUMENT_FINDINGS}


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"scenario": "1%", "seed": 0, "passes": 12345678.0, "share": 0.25, "seconds": None},
        {"scenario": "1%", "seed": 1, "passes": 7.0, "share": 0.75, "seconds": 1.5},
    ]
    write_rows(rows, tmp_path / "results" / "found.csv")
    found = read_rows(tmp_path / "results" / "found.csv")
    assert found == rows
    assert mean(found, "share") == 0.5
    assert mean(found, "seconds") == 1.5
    assert spread(where(found, scenario=["1%", "5%"]), "passes") == (7, 12345678)
