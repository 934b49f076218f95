"""An audit names the run and the state that it is about, and is signed: any other document is refused in one line."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import raymu
from raymu.api import Run
from raymu.cli import run_command
from raymu.core.verdict import Verdict
from raymu.errors import FileCorrupt, RequestInvalid
from raymu.report.load import read_run
from raymu.store.keys import new_signing_key, public_key
from raymu.store.signed_document import signed
from tests.support.audit_documents import audit_report
from tests.support.coordinated_run import ids_at
from tests.support.examples import make_config, write_samples
from tests.support.golden_journals import GOLDEN


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of the same data, of which `run` has forgotten a sample."""
    folder = tmp_path_factory.mktemp("document")
    write_samples(folder / "all.parquet", samples=80)
    config = make_config(folder / "all.parquet")
    for name in ("run", "other"):
        with raymu.train(config, folder / name) as run:
            run.revoke(ids_at(config, shard=0)[:1], strategy="sisa")
    return folder


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Run:
    return raymu.open_run(shutil.copytree(folder / "run", tmp_path / "run"))


def document(run: Run) -> dict[str, Any]:
    [receipt] = run.receipts()
    return run.audit_document(audit_report(generation=3, request_ids=(receipt.request_id,)))


def write(tmp_path: Path, tree: Any) -> Path:
    (tmp_path / "audit.json").write_text(json.dumps(tree, indent=2))
    return tmp_path / "audit.json"


def test_an_audit_says_of_which_state_of_which_run_it_is(run: Run, tmp_path: Path) -> None:
    tree = document(run)
    assert (tree["schema"], tree["version"], tree["run"]) == ("raymu.audit", 1, run._store.manifest.run_id)
    assert tree["manifest_sha256"] == run.receipts()[0].manifest_after
    assert tree["public_key"] == (tmp_path / "run" / "signing.pub").read_text()
    checked = run.read_audit(write(tmp_path, tree))
    assert (checked.generation, checked.served, checked.is_signed, checked.verdict) == (3, 3, True, Verdict.FAIL)
    assert str(checked) == "audit of generation 3; signed by the run's key"


def test_an_audit_of_an_earlier_generation_is_shown_as_one(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path, document(run))
    with run:
        run.revoke(ids_at(run.config, shard=1)[:1], strategy="sisa")
    assert str(run.read_audit(file)) == "audit of generation 3; the run serves 5; signed by the run's key"


def test_an_auditor_without_the_signing_key_audits_and_the_document_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run" / "signing.key").unlink()
    tree = document(raymu.open_run(run.location))
    assert (tree["signature"], tree["public_key"]) == (None, None)
    checked = run.read_audit(write(tmp_path, tree))
    assert str(checked) == "audit of generation 3; not signed, so that anyone can have written it"


def changed(tree: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**tree, **fields}


def test_what_is_not_an_audit_of_this_run_is_refused(run: Run, folder: Path, tmp_path: Path) -> None:
    tree, key = document(run), new_signing_key()
    forged = {name: value for name, value in tree.items() if name != "signature"} | {
        "public_key": public_key(key).hex()
    }
    unsigned = changed(tree, signature=None)
    unknown = {**tree["together"], "request_ids": ["r7"]}
    refusals: list[tuple[Any, str]] = [
        ({"verdict": "pass"}, "is not an audit that says of which run it is"),
        (json.loads((GOLDEN / "0.1" / "audit.json").read_text()), "as those of raymu 0.1 do not"),
        (document(raymu.open_run(folder / "other")), "is an audit of run"),
        (changed(tree, verdict="pass"), "was changed, or signed by another key"),
        (changed(tree, seconds=0), "was changed, or signed by another key"),
        (changed(tree, note=1), "was changed, or signed by another key"),
        (signed(forged, key), "was changed, or signed by another key"),
        (changed(tree, signature="ab"), "was changed, or signed by another key"),
        (changed(tree, signature=7), "was changed, or signed by another key"),
        (changed(tree, version=2), "newer raymu"),
        (changed(unsigned, generation=9), "a state that the run never had"),
        (changed(unsigned, manifest_sha256="0" * 64), "a state that the run never had"),
        (changed(unsigned, together=unknown), "a state that the run never had"),
        (changed(unsigned, together=None), "not a record of this version"),
        (changed(unsigned, run="\x1b[2Jx"), r"\\x1b\[2Jx"),
    ]
    for other, complaint in refusals:
        with pytest.raises(RequestInvalid, match=complaint) as refusal:
            run.read_audit(write(tmp_path, other))
        assert "\n" not in str(refusal.value)


def test_an_audit_signed_by_a_key_in_the_place_of_the_runs_is_refused(run: Run, tmp_path: Path) -> None:
    """Whoever may change the files, without `hash.key`, vouches for nothing."""
    key = new_signing_key()
    forged = document(run) | {"verdict": "pass", "public_key": public_key(key).hex()}
    del forged["signature"]
    (tmp_path / "run" / "signing.pub").write_text(public_key(key).hex())
    opened = raymu.open_run(run.location)
    with pytest.raises(FileCorrupt, match="not the key that"):
        opened.read_audit(write(tmp_path, signed(forged, key)))
    assert read_run(opened._store, now=datetime.now(UTC)).key_fingerprint is None


def test_the_command_line_checks_a_document(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, document(run))
    assert run_command(["audit", run.location, "--check", str(file)]) == (0, "")
    assert capsys.readouterr().out == "audit of generation 3; signed by the run's key; its verdict: fail\n"
    assert run_command(["audit", run.location, "--check", str(file), "--json"]) == (0, "")
    assert json.loads(capsys.readouterr().out)["schema"] == "raymu.audit_check"
    write(tmp_path, changed(document(run), signature=None))
    assert run_command(["audit", run.location, "--check", str(file)])[0] == 3
    write(tmp_path, changed(document(run), verdict="pass"))
    assert run_command(["audit", run.location, "--check", str(file)])[0] == 2
