"""The numbers in the READMEs are those of the results, and nobody's memory."""

import re
from pathlib import Path

import pytest
from findings import FINDINGS, Finding
from rows import Row, mean, read_rows, spread, where, write_rows
from tables import READMES, kept, with_tables, without_tables

from tests.support.evidence import scaled

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
    assert readme != with_tables(readme, lambda name: scaled(kept(name)))


def test_no_measurement_is_written_by_hand(readme: str) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", without_tables(readme), flags=re.DOTALL)
    assert [found for found in MEASURED.findall(prose) if found not in CHOSEN] == []


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_every_result_and_figure_that_is_named_is_there(path: Path) -> None:
    named = re.findall(r"\]\(([^)]+\.(?:csv|json|png|svg|py|md|yaml))\)", path.read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (path.parent / name).exists()] == []


def scripts_that(imports: str) -> set[str]:
    """imports: a pattern, of lines"""
    asked = re.compile(imports, flags=re.MULTILINE)
    return {path.stem for path in EXPERIMENTS.glob("*.py") if asked.search(path.read_text(encoding="utf-8"))}


def test_every_script_that_measures_is_told_of_and_those_that_keep_rows_run_together() -> None:
    keep_rows = scripts_that(r"^from workbench import .*\bexperiment\b")
    keep_documents = scripts_that(r"^from documents import .*\b(keep|RESULTS)\b")
    assert keep_rows == {one.script for one in FINDINGS if not one.documents}
    assert keep_documents == {one.script for one in FINDINGS if one.documents}


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.script)
def test_every_finding_has_a_question_numbers_its_figures_and_no_number_in_its_conclusion(finding: Finding) -> None:
    assert finding.question.endswith("?")
    assert re.search(r"\d", finding.says(*map(kept, finding.results)))
    drawn = [EXPERIMENTS / "figures" / f"{name}.{ending}" for name in finding.figures for ending in ("png", "svg")]
    assert [path for path in drawn if not path.is_file()] == []
    assert bool(drawn) != bool(finding.documents)
    assert not re.search(r"\d", finding.shows)


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
