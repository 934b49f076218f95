"""The quickstart notebook runs from top to bottom, with a real kernel."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.documents import ROOT


@pytest.mark.filterwarnings("default")  # of the kernel's client
def test_the_quickstart_notebook_ends_with_an_exact_and_verified_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("quickstart.ipynb", "letter.yaml"):
        shutil.copy(ROOT / "examples" / name, tmp_path)
    configuration = (tmp_path / "letter.yaml").read_text(encoding="utf-8")
    (tmp_path / "letter.yaml").write_text(configuration.replace("../raymu", str(ROOT / "raymu")), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(tmp_path / "quickstart.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    tables = [
        output["data"]["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "execute_result" and "text/html" in output["data"]
    ]
    _forecast, patched, settled, verified = tables
    assert "<th>result</th><td>approximate</td>" in patched
    assert "<th>result</th><td>exact</td>" in settled
    assert "pass" in verified
