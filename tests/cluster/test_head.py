"""The head of a cluster is killed and restarted, and the run continues from its directory."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import raymu
from tests.support.examples import make_config, revoke, served_weights, train_run, write_samples
from tests.support.file_events import watched
from tests.support.head_node import Head, started_head

pytestmark = pytest.mark.nightly


def test_a_run_continues_from_its_directory(tmp_path: Path) -> None:
    ids = write_samples(tmp_path / "all.parquet", samples=400)["id"].to_pylist()[:30]
    (tmp_path / "ids.txt").write_text("\n".join(map(str, ids)))
    with started_head("--num-cpus=4") as head:
        config = make_config(
            tmp_path / "all.parquet",
            partition={"shards": 4, "slices": 3},
            cluster={"fleet": "ray", "live_actors": 2, "address": head.address},
        )
        location, calm = tmp_path / "run", train_run(config, tmp_path / "calm")
        asyncio.run(train_run(config, location).close())
        words = ["revoke", "run", "--ids-file", "ids.txt", "--strategy", "sisa"]
        broken_off(words, tmp_path, head, moment=r"shards/.*stage-2")
        head.start()
        assert finished(["settle", "run", "--json"], tmp_path, head)["generation"] > 1
    receipt, other = raymu.open_run(location).receipts()[0], revoke(calm, ids, strategy="sisa")
    assert (receipt.purged_at is not None, receipt.exactness) == (True, other.exactness)
    assert served_weights(location) == served_weights(tmp_path / "calm")


def broken_off(words: list[str], folder: Path, head: Head, *, moment: str) -> None:
    """Run a command, and kill its cluster's head as soon as a file appears."""
    killed: list[str] = []

    def strike(event: str) -> None:
        if not killed and re.match(rf"appears {moment}", event):
            killed.append(event)
            head.kill()

    with watched(folder / "run", strike):
        process = command(words, folder, head)
    assert killed, process.stderr
    assert process.returncode == 4
    line = r"raymu: the coordinator was lost .*; 1 request accepted before \(\S+\) stays: `raymu settle` finishes it\n"
    assert re.fullmatch(line, process.stderr), process.stderr


def finished(words: list[str], folder: Path, head: Head) -> dict[str, Any]:
    process = command(words, folder, head)
    assert (process.returncode, process.stderr) == (0, "")
    document: dict[str, Any] = json.loads(process.stdout)
    return document


def command(words: list[str], folder: Path, head: Head) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "raymu.cli", *words]
    return subprocess.run(
        program, cwd=folder, env=head.environment, capture_output=True, text=True, timeout=150, check=False
    )
