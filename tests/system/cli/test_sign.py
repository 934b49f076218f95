"""`raymu sign`: OpenSSF's own program checks the files of every generation, and refuses every change to them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from raymu.cli import run_command
from raymu.store.keys import new_signing_key
from raymu.store.model_signature import model_key_pem
from tests.support.trained_runs import RunTemplates, TrainedRun

pytest.importorskip("model_signing")


def is_valid(run: Path, signature: Path, key: Path) -> bool:
    """Ask model_signing, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "model_signing",
        "verify",
        "key",
        run,
        "--signature",
        signature,
        "--public_key",
        key,
    ]
    done = subprocess.run([*map(str, command), "--ignore_unsigned_files"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "Verification failed" in done.stderr, done.stderr
    return done.returncode == 0


@pytest.fixture
def run(run_templates: RunTemplates, tmp_path: Path) -> TrainedRun:
    return run_templates.copy(tmp_path / "run")


def test_every_generation_is_checked_by_others(
    run: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    location, first, second = tmp_path / "run", tmp_path / "first.sig", tmp_path / "second.sig"
    assert run_command(["sign", str(location), str(first)])[0] == 0
    assert "model_signing verify key" in capsys.readouterr().out
    assert is_valid(location, first, first.with_suffix(".pem"))
    run.revoke(run.ids(shard=0)[:1], strategy="sisa")
    assert not is_valid(location, first, first.with_suffix(".pem")), "its files are destroyed"
    assert run_command(["sign", str(location), str(second), "--json"])[0] == 0
    document = json.loads(capsys.readouterr().out)
    assert is_valid(location, second, second.with_suffix(".pem"))
    assert first.with_suffix(".pem").read_bytes() == second.with_suffix(".pem").read_bytes()
    names = document["files"]
    assert names[0].startswith("generations/")
    assert sum(name.startswith("shards/") for name in names) == len(names) - 1 > 0
    (tmp_path / "other.pem").write_bytes(model_key_pem(new_signing_key()))
    assert not is_valid(location, second, tmp_path / "other.pem")
    changed = location / names[-1]
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x01")
    assert not is_valid(location, second, second.with_suffix(".pem"))


@pytest.mark.parametrize(
    ("out", "line"),
    [
        ("model.txt", "ends in .sig"),
        ("run/model.sig", "is in the run's directory"),
        ("no/model.sig", "not a directory"),
    ],
)
def test_nothing_is_written_where_it_cannot_be(run: TrainedRun, tmp_path: Path, out: str, line: str) -> None:
    assert run.store.manifest
    before = sorted(tmp_path.rglob("*"))
    code, error = run_command(["sign", str(tmp_path / "run"), str(tmp_path / out)])
    assert (code, line in error) == (2, True), error
    assert sorted(tmp_path.rglob("*")) == before
