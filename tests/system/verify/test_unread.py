"""Files that cannot be read, or that change during the verification, make it inconclusive."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql

from raymu.core.events import DamageFound
from raymu.core.verdict import Verdict
from raymu.errors import FileUnreadable
from raymu.service.shard.messages import no_progress
from raymu.service.verify import verify as verify_module
from raymu.service.verify.checks import CHECKS, CheckRow, Findings
from raymu.service.verify.evidence import Evidence
from raymu.service.verify.verify import Verification, verify
from raymu.store.files.run_files import RunFiles
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, journal_events, lineage_of, opened
from tests.support.examples import create_run, make_config, write_samples
from tests.support.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unread")
    write_samples(folder / "all.parquet", samples=80)
    create_run(make_config(folder / "all.parquet"), folder / "run")
    return folder / "run"


@pytest.fixture
def location(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def verified(location: Path) -> Verification:
    return verify(RunStore(str(location)), no_progress)


def left_open(verification: Verification) -> set[str]:
    """Return the names of the inconclusive checks, of which none fails."""
    assert verification.verdict is Verdict.INCONCLUSIVE
    return {check.name for check in verification.checks if check.verdict is Verdict.INCONCLUSIVE}


def hide(location: Path, path: str) -> Callable[[], object]:
    """Make a file unreadable. Returns a function that undoes this."""
    hidden = (location / path).rename(location.with_name("hidden"))
    (location / path).mkdir()

    def restore() -> None:
        (location / path).rmdir()
        hidden.replace(location / path)

    return restore


def revoke_one(location: Path) -> None:
    store = RunStore(str(location))
    number = sum(event.kind == "accepted" for event in journal_events(location))
    with opened(location) as run:
        run.revoke(ids_at(store.config, shard=0, slice_index=1)[number : number + 1], strategy="sisa")


def test_a_state_that_cannot_be_read_is_not_damaged(location: Path) -> None:
    restore = hide(location, lineage_of(location, 0).serving.file.path)
    assert "files" in left_open(verified(location))
    with opened(location) as run, pytest.raises(FileUnreadable, match="see to its storage"):
        asyncio.run(run.coordinator.rebuild(no_progress))
    restore()
    assert not [event for event in journal_events(location) if isinstance(event, DamageFound)]
    assert verified(location).verdict is Verdict.PASS


def test_damage_is_found_despite_unreadable_files(location: Path) -> None:
    hide(location, lineage_of(location, 0).serving.file.path)
    (location / lineage_of(location, 1).serving.file.path).write_bytes(b"something else")
    assert verified(location).verdict is Verdict.FAIL


@pytest.mark.parametrize("name", ["run.json", "hash.key", "journal.seal", "epoch"])
def test_an_unreadable_file_of_the_run_is_inconclusive(location: Path, name: str) -> None:
    hide(location, name)
    left_open(verified(location))


def test_a_journal_with_an_unreadable_seal_is_not_assumed_to_be_the_latest(location: Path) -> None:
    hide(location, "journal.seal")
    with pytest.raises(FileUnreadable, match=r"journal\.seal"):
        RunStore(str(location)).current()


def test_a_locked_journal_is_inconclusive(location: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymu.store.journal.dialects.SQLITE_BUSY_MS", 50)
    with closing(sqlite3.connect(location / "journal.sqlite", isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        assert left_open(verified(location)) == {"journal"}
        holder.execute("ROLLBACK")


@pytest.mark.parametrize("bytes_left", [0, 3000])
def test_a_journal_that_is_not_a_database_fails(location: Path, bytes_left: int) -> None:
    """The file was read, but is something else."""
    journal = location / "journal.sqlite"
    journal.write_bytes(journal.read_bytes()[:bytes_left])
    assert verified(location).verdict is Verdict.FAIL


def test_an_unreachable_journal_server_is_inconclusive(tmp_path: Path, postgres: PostgresServer) -> None:
    database: sql.URL = postgres.new_database()
    write_samples(tmp_path / "all.parquet", samples=80)
    config = make_config(tmp_path / "all.parquet", cluster={"journal": str(database)})
    create_run(config, tmp_path / "run")
    assert verified(tmp_path / "run").verdict is Verdict.PASS
    postgres.execute(f"ALTER DATABASE {database.database} ALLOW_CONNECTIONS false")
    assert left_open(verified(tmp_path / "run")) == {"journal"}


class PurgedMeanwhile(RunFiles):
    """A coordinator destroys a superseded file after the files were listed, and before this one is read."""

    def read(self, path: str) -> bytes:
        if path.endswith("-0123456789abcdef.safetensors"):
            (Path(self.local or "") / path).unlink()
        return super().read(path)


def test_a_file_that_is_destroyed_after_it_was_listed_is_not_missed(location: Path) -> None:
    (location / "shards" / "0000" / "stage-0-0123456789abcdef.safetensors").write_bytes(b"superseded")
    store = RunStore(str(location), PurgedMeanwhile(str(location)))
    assert verify(store, no_progress).verdict is Verdict.PASS


def checks_after(write: Callable[[], None], *, times: int) -> Mapping[str, CheckRow]:
    """Return the checks, of which the first `times` checks of the files write to the run."""
    left = iter(range(times))

    def find(evidence: Evidence) -> Findings:
        if next(left, None) is not None:
            write()
        yield from CHECKS["files"].find(evidence)

    return {**CHECKS, "files": replace(CHECKS["files"], find=find)}


@pytest.mark.parametrize(("times", "verdict"), [(1, Verdict.PASS), (99, Verdict.INCONCLUSIVE)])
def test_a_run_that_changes_during_verification_is_verified_again(
    location: Path, monkeypatch: pytest.MonkeyPatch, times: int, verdict: Verdict
) -> None:
    monkeypatch.setattr(verify_module, "CHECKS", checks_after(lambda: revoke_one(location), times=times))
    verification = verified(location)
    assert verification.verdict is verdict
    findings = [finding.what for check in verification.checks for finding in check.findings]
    assert any(what.startswith("the run was written meanwhile") for what in findings) is (times > 1)
