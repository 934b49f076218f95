"""Every number in the documents comes from the results of the experiments."""

import re
from pathlib import Path

import pandas as pd
import pytest

from experiments.harness import EXPERIMENTS, RESULTS, Experiment, read_result, write_rows
from experiments.summarize import (
    SEPARATE,
    TOGETHER,
    documents,
    load,
    read_kept,
    with_results,
    without_results,
)
from tests.support.evidence import scaled

DOCUMENTS = documents()
MEASURED = re.compile(r"\d[\d,.]*\s?(?:%|ms\b|points\b|x\b|times\b)")
"""Text that reads like a measurement."""
CHOSEN = {"1%"}
"""Text that reads like a measurement and is a setting."""


@pytest.fixture(params=DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_the_documents_with_numbers_are_known() -> None:
    assert {path.name for path in DOCUMENTS} >= {"README.md", "CAPACITY.md"}
    assert EXPERIMENTS / "README.md" in DOCUMENTS


def test_every_table_is_what_the_results_give(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert text == with_results(text), "run python -m experiments.summarize"


def test_a_changed_result_changes_the_tables(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert text != with_results(text, lambda name: scaled(read_kept(name)))


def test_no_measurement_is_written_by_hand(document: Path) -> None:
    text = without_results(document.read_text(encoding="utf-8"))
    prose = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    assert [match for match in MEASURED.findall(prose) if match not in CHOSEN] == []


def test_every_linked_result_and_figure_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+\.(?:csv|json|png|svg|py|md|yaml))\)", text)
    assert links
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_figure_and_result_that_is_kept_is_linked() -> None:
    readme = (EXPERIMENTS / "README.md").read_text(encoding="utf-8")
    kept = {
        f"{path.parent.name}/{path.name}"
        for folder in ("figures", "results")
        for path in (EXPERIMENTS / folder).iterdir()
    }
    assert {name for name in kept if f"({name})" not in readme} == {"results/runs.csv"}


def test_every_script_that_measures_is_summarized() -> None:
    scripts = {path.stem for path in EXPERIMENTS.glob("*.py") if "EXPERIMENT = " in path.read_text(encoding="utf-8")}
    assert scripts == {*TOGETHER, *SEPARATE}


@pytest.mark.parametrize("experiment", load((*TOGETHER, *SEPARATE)), ids=lambda experiment: experiment.name)
def test_an_experiment_has_a_question_numbers_its_figures_and_a_conclusion_without_numbers(
    experiment: Experiment,
) -> None:
    assert experiment.question.endswith("?")
    assert re.search(r"\d", experiment.summary(*map(read_kept, experiment.results)))
    figures = [EXPERIMENTS / "figures" / f"{name}.png" for name in experiment.figures]
    assert [path for path in figures if not path.is_file()] == []
    assert figures or experiment.name not in TOGETHER
    assert experiment.conclusion.endswith(".")
    assert not re.search(r"\d", experiment.conclusion)


def test_every_figure_is_drawn_from_its_result() -> None:
    for experiment in load((*TOGETHER, *SEPARATE)):
        for draw in experiment.figures.values():
            figure = draw(read_result(RESULTS / experiment.results[0]))
            assert all(axes.has_data() or not axes.axison for axes in figure.axes)


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [
        {"scenario": "1%", "seed": 0, "passes": 12345678.0, "share": 0.25, "seconds": None, "calibration": True},
        {"scenario": "1%", "seed": 1, "passes": 7.5, "share": 0.75, "seconds": 1.5, "calibration": None},
    ]
    write_rows(rows, tmp_path / "results" / "rows.csv")
    read = read_result(tmp_path / "results" / "rows.csv")
    assert read.astype(object).where(pd.notna(read), None).to_dict("records") == rows
