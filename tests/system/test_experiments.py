"""The experiments run as they are called: a small one, and one whose data are not there."""

import subprocess
import sys
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def run(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXPERIMENTS / script), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=EXPERIMENTS.parent)


def test_a_smoke_run_leaves_its_result_its_figures_and_its_circumstances(tmp_path: Path) -> None:
    done = run("fine_tuning.py", "--smoke", "--data-folder", str(tmp_path), "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == [
        *(f"figures/fine_tuning.{ending}" for ending in ("png", "svg")),
        "results/fine_tuning.csv",
        "results/runs.csv",
    ]
    assert "fine_tuning,smoke," in (tmp_path / "results" / "runs.csv").read_text(encoding="utf-8")


def test_data_that_are_not_there_are_named_before_anything_is_measured(tmp_path: Path) -> None:
    done = run("boundary.py", "--data-folder", str(tmp_path), "--out", str(tmp_path))
    assert done.returncode == 2
    [complaint] = done.stderr.splitlines()
    assert str(tmp_path / "fashion-mnist-train.parquet") in complaint
    assert list(tmp_path.iterdir()) == []
