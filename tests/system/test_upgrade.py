"""`raymu upgrade`: runs of version 0.1 are written as this version does, from whatever point an earlier attempt came to."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import raymu
from raymu.cli import run_command
from raymu.core.verdict import Verdict
from raymu.data.tables import read_table
from raymu.service.upgrade import UpgradePart, pending_upgrade
from raymu.store.receipts import ReceiptRow
from raymu.store.run import RunStore
from tests.support.golden_runs import EVERY, copied_golden_run

KILL = """
import os, sys
import raymu
from raymu.store.files.run_files import RunFiles

path, number, moment = sys.argv[2], int(sys.argv[3]), sys.argv[4]
write, writes = RunFiles._write, []

def killed(files, written, *rest):
    is_it = written.startswith(path)
    writes.extend([written] * is_it)
    if is_it and len(writes) == number and moment == "before":
        os._exit(9)
    ref = write(files, written, *rest)
    if is_it and len(writes) == number:
        os._exit(9)
    return ref

RunFiles._write = killed
with raymu.open_run(sys.argv[1]) as run:
    run.upgrade()
"""


@pytest.fixture(params=EVERY, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def location(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a golden run, with its training file at the path in its settings."""
    return copied_golden_run(request.param, tmp_path, monkeypatch)


def hashes(run: Path) -> Mapping[str, str]:
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.rglob("*")
        if path.is_file()
    }


def receipts(run: Path) -> list[ReceiptRow]:
    with closing(RunStore(str(run)).journal(is_read_only=True)) as journal:
        return journal.receipt_rows()


def parts(run: Path) -> list[UpgradePart]:
    return [step.part for step in pending_upgrade(RunStore(str(run))).steps]


def failures(run: Path) -> list[str]:
    """What a verification calls a failure."""
    with raymu.open_run(run) as opened:
        findings = [finding for check in opened.verify().checks for finding in check.findings]
    return [finding.what for finding in findings if finding.verdict is Verdict.FAIL]


def test_a_run_of_version_0_1_is_upgraded_once(location: Path, capsys: pytest.CaptureFixture[str]) -> None:
    has_owner = RunStore(str(location)).config.data.owner is not None
    before, issued = hashes(location), receipts(location)
    expected = [UpgradePart.JOURNAL, UpgradePart.KEY, *([UpgradePart.ROUTES] if has_owner else [])]
    assert run_command(["upgrade", str(location), "--check", "--json"])[0] == 1
    assert [step["part"] for step in json.loads(capsys.readouterr().out)["steps"]] == expected
    assert hashes(location) == before, "--check writes nothing"
    assert run_command(["upgrade", str(location)])[0] == 0
    assert receipts(location)[: len(issued)] == issued, "receipts stay as they were signed"
    assert parts(location) == []
    assert failures(location) == []
    upgraded = hashes(location)
    assert run_command(["upgrade", str(location)])[0] == 0
    assert run_command(["upgrade", str(location), "--check"])[0] == 0
    assert hashes(location) == upgraded, "nothing is left to do"


def test_an_upgraded_run_predicts_as_before_and_finds_its_owners(location: Path) -> None:
    config = RunStore(str(location)).config.data
    table = read_table("all.parquet", config)
    with raymu.open_run(location) as run:
        run.settle()  # an interrupted run goes on first
        before = run.predict(table.features)
    with raymu.open_run(location) as run:
        run.upgrade()
        assert np.array_equal(run.predict(table.features), before)
    if config.owner is not None:
        store = RunStore(str(location))
        assert store.manifest.routes
        held = [
            store.samples.read_table(lineage.table, ["owner"])["owner"].to_pylist()
            for lineage in store.current().lineages
        ]
        owner, *others = [name for names in held for name in names]
        with raymu.open_run(location) as run:
            assert run.revoke(owner=owner, strategy="sisa").samples == 1 + others.count(owner)
    assert failures(location) == []


def test_an_upgrade_that_is_killed_is_repeated(location: Path) -> None:
    """Each process goes on where the one before it was killed."""
    if RunStore(str(location)).config.data.owner is None:
        pytest.skip("has no routes to write")
    before = failures(location)  # a file that its last coordinator was about to destroy
    kills = (("epoch", 1, "after"), ("run.json", 1, "before"), ("run.json", 1, "after"), ("routes", 1, "after"))
    for path, number, moment in kills:
        words = [sys.executable, "-c", KILL, str(location), path, str(number), moment]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 9, f"{path}: {done.stderr}"
        assert UpgradePart.ROUTES in parts(location)
        assert failures(location) == before
    with raymu.open_run(location) as run:
        run.upgrade()
    assert parts(location) == []
    assert failures(location) == []
