"""`raymu receipts --attest`: what it writes is checked by a program that does not know raymu."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from raymu.cli import run_command
from tests.support.trained_runs import RunTemplates

SCRIPT = Path(__file__).parents[3] / "docs" / "check_receipts.py"
GOLDEN = Path(__file__).parents[2] / "golden_runs" / "0.1"


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script in a process that cannot import raymu."""
    command = [sys.executable, "-I", SCRIPT, folder / "signing.pem", *sorted(folder.glob("receipt-*.json"))]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=folder)


def test_receipts_of_a_run_and_of_one_request_are_valid(
    run_templates: RunTemplates, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_templates.copy(tmp_path / "run")
    first = run.revoke(run.ids(shard=0)[:2], strategy="dpus")
    second = run.revoke(run.ids(shard=1)[:1], strategy="sisa")
    run.settle()
    assert run_command(["receipts", str(tmp_path / "run"), "--attest", str(tmp_path / "all"), "--json"])[0] == 0
    document = json.loads(capsys.readouterr().out)
    names = ["signing.pem", *(f"receipt-{number:06d}.json" for number in (1, 2, 3))]
    assert (document["schema"], document["files"]) == ("raymu.attestations", names)
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == sorted(names)
    outcome = checked(tmp_path / "all")
    assert (outcome.returncode, outcome.stdout.count(": valid: ")) == (0, 3), outcome.stderr
    assert outcome.stdout.count(first.request_id) == 2, "it was patched, and settled later"
    of_second = ["receipts", str(tmp_path / "run"), "--request", second.request_id, "--attest", str(tmp_path / "some")]
    assert run_command(of_second)[0] == 0
    assert "1 receipt in" in capsys.readouterr().out
    assert checked(tmp_path / "some").stdout.count(": valid: ") == 1
    (tmp_path / "some" / "receipt-000002.json").write_bytes(
        (tmp_path / "all" / "receipt-000001.json").read_bytes()[:-9]
    )
    assert checked(tmp_path / "some").returncode == 1


def test_receipts_of_version_0_1_are_attested(tmp_path: Path) -> None:
    run = next(path.parent for path in GOLDEN.rglob("run.json"))
    shutil.copytree(run, tmp_path / "run")
    assert run_command(["receipts", str(tmp_path / "run"), "--attest", str(tmp_path / "all")])[0] == 0
    outcome = checked(tmp_path / "all")
    assert (outcome.returncode, outcome.stdout.count(": valid: ") > 0) == (0, True), outcome.stderr


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("run/new", "is in the run's directory"),
        ("missing/new", "its folder does not exist"),
        ("full", "is a folder with files"),
        ("new", "no receipt was issued yet"),
    ],
)
def test_nothing_is_written_where_it_cannot_be(
    run_templates: RunTemplates, tmp_path: Path, folder: str, line: str
) -> None:
    run_templates.copy(tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    code, error = run_command(["receipts", str(tmp_path / "run"), "--attest", str(tmp_path / folder)])
    assert (code, line in str(error)) == (2, True)
    assert sorted(tmp_path.rglob("*")) == before
