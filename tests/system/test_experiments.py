"""Experiments run as documented: a smoke run, and a run whose data are missing."""

import runpy
import sys
from pathlib import Path

import pytest

from experiments import fine_tuning
from experiments.harness import run_experiment

ROOT = Path(__file__).parents[2]


def test_a_smoke_run_writes_its_result_its_figure_and_its_circumstances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the experiment sets it
    options = ["--smoke", "--data-folder", str(tmp_path), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["fine_tuning", *options])
    run_experiment(fine_tuning.EXPERIMENT, fine_tuning.measure, data=("fashion-mnist",))
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert written == ["figures/fine_tuning.png", "results/fine_tuning.csv", "results/runs.csv"]
    assert "fine_tuning,smoke," in (tmp_path / "results" / "runs.csv").read_text(encoding="utf-8")


def test_missing_data_are_named_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["boundary", "--data-folder", str(tmp_path), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", options)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "experiments" / "boundary.py"), run_name="__main__")
    assert end.value.code == 2
    [complaint] = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "fashion-mnist-train.parquet") in complaint
    assert list(tmp_path.iterdir()) == []
