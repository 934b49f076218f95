"""Notebooks run from top to bottom with a real kernel, and show records as tables, reports as pages and work as bars."""

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.documents import ROOT
from tests.support.examples import make_config, write_samples

pytestmark = pytest.mark.filterwarnings("default")  # of the kernel's client


def outputs(notebook: Any, folder: Path) -> list[list[str]]:
    """Run a notebook in a folder, and return the HTML that each cell of code shows."""
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [
        [output["data"]["text/html"] for output in cell.outputs if "text/html" in output.get("data", {})]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.fixture(autouse=True)
def own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_the_quickstart_notebook_ends_with_an_exact_and_verified_run(tmp_path: Path) -> None:
    for name in ("quickstart.ipynb", "letter.yaml"):
        shutil.copy(ROOT / "examples" / name, tmp_path)
    configuration = (tmp_path / "letter.yaml").read_text(encoding="utf-8")
    (tmp_path / "letter.yaml").write_text(configuration.replace("../raymu", str(ROOT / "raymu")), encoding="utf-8")
    notebook = nbformat.read(tmp_path / "quickstart.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    trained, planned, patched, _, settled, verified, reported, _ = outputs(notebook, tmp_path)
    assert "8 of 8 shards" in trained[0]
    assert "<progress" in trained[0]
    assert "<caption>Run</caption>" in trained[-1]
    assert [len(planned), "<caption>Forecast</caption>" in planned[0]] == [1, True]
    assert "2 of 2 shards" in patched[0]
    assert "<th>result</th><td>approximate</td>" in patched[-1]
    assert "<th>result</th><td>exact</td>" in settled[-1]
    assert "<th>verdict</th><td>pass</td>" in verified[-1]
    assert "<th>check of replay</th><td>pass</td>" in verified[-1]
    assert reported[-1].startswith("<iframe sandbox")
    page = (tmp_path / "letter-report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert not any("4021" in html for cell in (trained, planned, patched, settled, verified) for html in cell)
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output.get("name") == "stderr"
    ]


def test_audits_and_predictions_show_what_is_counted(tmp_path: Path) -> None:
    ids = write_samples(tmp_path / "<b>train.parquet")["id"].to_pylist()
    config = make_config(tmp_path / "<b>train.parquet", data={"test": str(tmp_path / "<b>train.parquet")})
    source = f"""
import raymu
run = raymu.train(raymu.Config.parse({config.tree()!r}), "<b>run")
run.revoke({ids[:4]!r}, strategy="dpus")
audit = run.audit(raymu.AuditScope(shadow_models=4, repetitions=0))
run.close()
"""
    predict = "_ = run.predict_file('<b>train.parquet', 'predictions.parquet')"
    sources = (source, "run", "audit", "run.report(audit=audit)", predict)
    cells = [nbformat.v4.new_code_cell(text) for text in sources]  # type: ignore[no-untyped-call]
    work, run, audit, report, predicted = outputs(nbformat.v4.new_notebook(cells=cells), tmp_path)  # type: ignore[no-untyped-call]
    assert any("models" in html and "<progress" in html for html in work)
    assert "&lt;b&gt;run" in run[0]
    assert "<caption>AuditReport</caption>" in audit[0]
    assert "Audit of generation" in report[0]
    assert f"{len(ids)} of {len(ids)} rows<" in predicted[0]
    assert not any("<b>" in html for html in [*work, *run, *audit, *report, *predicted])


def test_ray_asks_for_no_widgets(tmp_path: Path) -> None:
    """The fleet of a larger run imports it in the kernel."""
    cell = nbformat.v4.new_code_cell("import raymu.runtime.fleet, ray.data, ray.train")  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=[cell])  # type: ignore[no-untyped-call]
    outputs(notebook, tmp_path)
    assert notebook.cells[0].outputs == []
