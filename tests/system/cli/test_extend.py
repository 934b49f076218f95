"""`raymu extend`, and `raymu train --revocations-of`."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from raymu.cli import run_command
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, its training file of 120 samples, and a file of 40 further ones."""
    monkeypatch.chdir(tmp_path)
    whole = write_samples(tmp_path / "whole.parquet", samples=160, owners=8)
    pq.write_table(whole.slice(0, 120), "all.parquet")
    pq.write_table(whole.slice(120, 40), "more.parquet")
    config = make_config("all.parquet", data={"owner": "owner"}, partition={"slices": 2}, training={"epochs": 2}).tree()
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def document(*words: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, object]:
    """Run a command with --json, and return its document."""
    capsys.readouterr()
    assert run_command([*words, "--json"])[0] == code
    printed: dict[str, object] = json.loads(capsys.readouterr().out)
    return printed


def test_a_run_grows_without_what_it_revoked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = pq.read_table(folder / "more.parquet")
    theirs = more["owner"].to_pylist().count("owner-3")
    assert theirs
    for words in (["train", "run.yaml", "run"], ["revoke", "run", "--owner", "owner-3", "--strategy", "sisa"]):
        assert run_command(words)[0] == 0
    code, line = run_command(["extend", "run", "--data", "more.parquet"])
    assert (code, f"{theirs} sample" in line, "--ignore-revoked" in line) == (2, True, True)
    assert "owner-3" not in line
    report = document("extend", "run", "--data", "more.parquet", "--ignore-revoked", capsys=capsys)
    assert (report["samples"], report["left_out"], report["slices"]) == (40 - theirs, theirs, 3)
    status = document("status", "run", capsys=capsys)
    assert (status["slices"], status["untrained_slices"]) == (3, 0)
    assert document("verify", "run", "--replay", capsys=capsys)["verdict"] == "pass"
    assert run_command(["report", "run", "--out", "page.html"])[0] == 0
    assert "3 in each shard, 1 of them added later" in (folder / "page.html").read_text()
    assert run_command(["extend", "run", "--data", "more.parquet", "--ignore-revoked"])[0] == 2  # it holds them now


def test_a_new_run_leaves_out_what_an_old_one_revoked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = pq.read_table(folder / "whole.parquet")
    sample = whole["id"][0].as_py()
    assert run_command(["train", "run.yaml", "old"])[0] == 0
    for words in (["--owner", "owner-3"], ["--id", str(sample)]):
        assert run_command(["revoke", "old", *words, "--strategy", "sisa"])[0] == 0
    owned = {row["id"] for row in whole.to_pylist() if row["owner"] == "owner-3"}
    words = ["train", "run.yaml", "new", "data.train=whole.parquet", "--revocations-of", "old"]
    report = document(*words, capsys=capsys)
    assert report["left_out"] == len(owned | {sample})
    store = RunStore(str(folder / "new"))
    held = {sample_id for ref in store.manifest.tables for sample_id in store.samples.read_table(ref)["id"].to_pylist()}
    assert held == set(whole["id"].to_pylist()) - owned - {sample}
    code, line = run_command(["train", "run.yaml", "other", "--revocations-of", "nowhere"])
    assert (code, "nowhere" in line) == (2, True)
    assert not (folder / "other").exists()
