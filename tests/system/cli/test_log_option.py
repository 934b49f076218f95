"""`raymu --log` writes events to standard error. Standard output stays one document."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.examples import write_samples

CONFIG = """
data: {train: all.parquet}
model: {name: logistic}
training: {epochs: 2}
partition: {shards: 3, slices: 2}
cluster: {fleet: local}
"""


def raymu(folder: Path, *words: str, log: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"RAYMU_LOG": log} if log else {})}
    command = [sys.executable, "-m", "raymu.cli", *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


def test_a_logged_command_still_prints_one_document(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    (tmp_path / "run.yaml").write_text(CONFIG)
    done = raymu(tmp_path, "--log", "json", "train", "run.yaml", "--run", "r", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["samples"] == 240
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in records if line["event"] in ("opened", "trained", "published", "closed")] == [
        "opened",
        "trained",
        "published",
        "closed",
    ]
    assert [line["done"] for line in records if line["event"] == "progress"] == [1, 2, 3]


def test_an_unknown_log_format_is_refused_in_one_line(tmp_path: Path) -> None:
    refused = raymu(tmp_path, "status", "r", log="xml")
    assert (refused.returncode, refused.stdout) == (2, "")
    [line] = refused.stderr.splitlines()
    assert "'xml' is not one of 'text', 'json'" in line


@pytest.mark.nightly
def test_text_is_for_people_and_the_environment_may_ask_for_it(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    (tmp_path / "run.yaml").write_text(CONFIG)
    done = raymu(tmp_path, "train", "run.yaml", "--run", "r", "--json", log="text")
    trained = next(line for line in done.stderr.splitlines() if " trained " in line)
    assert trained.endswith("shards=3 samples=240 workers=1")
