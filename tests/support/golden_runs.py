"""Whole runs that earlier versions wrote, each with its training file."""

import shutil
from pathlib import Path

import pytest

GOLDEN_RUNS = Path(__file__).parents[1] / "golden_runs"
EVERY = sorted(folder for version in GOLDEN_RUNS.iterdir() for folder in version.iterdir() if folder.is_dir())


def copied_golden_run(golden: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy a run into a folder, with its training file at the path in its settings, and go there. Returns the copy.

    Copies have the id of the original. Each has memories of its own, or it would look like an older copy of another one.
    """
    monkeypatch.setenv("RAYMU_ANCHORS", str(folder / "anchors"))
    shutil.copytree(golden, folder / "run")
    for key in (folder / "run").glob("*.key"):
        key.chmod(0o600)  # which Git does not keep
    shutil.copyfile(golden.with_suffix(".parquet"), folder / "all.parquet")
    monkeypatch.chdir(folder)
    return folder / "run"
