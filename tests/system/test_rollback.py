"""A run that was put back to an older copy is refused by every command, and `verify` names it and the way out."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import raymu
from raymu.api import Run
from raymu.cli import run_command
from raymu.core.findings import FindingKind
from raymu.core.verdict import Verdict
from raymu.errors import RunRolledBack
from raymu.service.audit.forget_set import AuditScope
from tests.support.coordinated_run import ids_at
from tests.support.examples import make_config, write_samples


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rollback")
    write_samples(folder / "all.parquet", samples=80)
    raymu.train(make_config(folder / "all.parquet"), folder / "run").close()
    return folder / "run"


@pytest.fixture
def location(trained: Path, tmp_path: Path) -> Path:
    """A run that forgot a sample, and was then put back to a copy from before."""
    location = Path(shutil.copytree(trained, tmp_path / "run"))
    with raymu.open_run(location) as run:
        run.revoke(ids_at(run.config, shard=0)[:1], strategy="sisa")
    assert raymu.open_run(location).verify().verdict is Verdict.PASS
    shutil.rmtree(location)
    shutil.copytree(trained, location)
    return location


CALLS: dict[str, Callable[[Run], object]] = {
    "predict": lambda run: run.predict(np.zeros((1, *run._store.manifest.input_shape), dtype=np.float32)),
    "revoke": lambda run: run.revoke(ids_at(run.config, shard=1)[:1]),
    "settle": lambda run: run.settle(),
    "rebuild": lambda run: run.rebuild(),
    "configure": lambda run: run.configure(strategy="sisa"),
    "status": lambda run: run.status(),
    "receipts": lambda run: run.receipts(),
    "signed receipts": lambda run: run.signed_receipts(),
    "plan": lambda run: run.plan(ids_at(run.config, shard=1)[:1]),
    "audit": lambda run: run.audit(AuditScope(ids=("1",))),
}


def test_every_call_refuses_the_older_copy_and_leaves_it_as_it_is(location: Path, trained: Path) -> None:
    for name, call in CALLS.items():
        with pytest.raises(RunRolledBack, match="lacks event"), raymu.open_run(location) as run:
            call(run)
        assert content(location) == content(trained), name


def test_verify_names_it_and_what_mends_it(location: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        verification = raymu.open_run(location).verify()
        [finding] = [finding for check in verification.checks for finding in check.findings]
        assert (finding.verdict, finding.kind) == (Verdict.FAIL, FindingKind.ROLLED_BACK)
        assert "`raymu verify --accept-rollback`" in finding.what
    code, line = run_command(["status", str(location)])
    assert code == 2
    assert "run `raymu verify RUN --accept-rollback`" in line
    assert run_command(["verify", str(location)])[0] == 1
    assert run_command(["verify", str(location), "--accept-rollback"])[0] == 0
    assert run_command(["status", str(location)])[0] == 0
    capsys.readouterr()


def test_an_older_copy_elsewhere_is_used_with_a_warning_and_never_passes(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYMU_ANCHORS", str(tmp_path / "anchors"))
    location, copy = (shutil.copytree(trained, tmp_path / name) for name in ("run", "copy"))
    with raymu.open_run(location) as run:
        run.revoke(ids_at(run.config, shard=0)[:1], strategy="sisa")
    verdicts = {raymu.open_run(copy).verify().verdict for _ in range(2)}
    run = raymu.open_run(copy)
    run.status()
    run.status()
    assert verdicts == {Verdict.INCONCLUSIVE}
    assert sum("an older copy" in record.getMessage() for record in caplog.records) == 1


def test_an_open_run_is_no_reason_to_leave_its_verification_open(trained: Path, tmp_path: Path) -> None:
    location = shutil.copytree(trained, tmp_path / "open")
    with raymu.open_run(location) as run:
        run.revoke(ids_at(run.config, shard=0)[:1], strategy="sisa")
        assert run.verify().verdict is Verdict.PASS
        assert raymu.open_run(location).verify().verdict is Verdict.INCONCLUSIVE  # for everyone else it is


def content(location: Path) -> dict[str, bytes]:
    return {str(path.relative_to(location)): path.read_bytes() for path in location.rglob("*") if path.is_file()}
