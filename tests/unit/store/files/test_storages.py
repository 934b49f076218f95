"""Refused locations of a run, its journal or its data: one line, without secrets."""

from pathlib import Path

import pytest

from raymu.config import Config
from raymu.errors import ConfigInvalid, RunInvalid
from raymu.store.files.run_files import RunFiles
from raymu.store.journal import network_fs as mounts
from raymu.store.journal.fencing import check_journal_access
from raymu.store.journal.network_fs import network_file_system
from raymu.store.run import RunStore
from tests.support.manifests import CONFIG

POSTGRES = "postgresql://raymu@127.0.0.1:9/journals"


def config_with(journal: str | None) -> Config:
    tree = CONFIG.tree()
    tree["cluster"]["journal"] = journal
    return Config.parse(tree)


def test_a_secret_in_the_uri_of_a_run_is_refused_and_not_repeated() -> None:
    for uri in ("s3://KEY:secret@bucket/run", "s3://KEY:sec/ret@bucket/run?region=x"):
        with pytest.raises(
            RunInvalid, match=r"s3://bucket/run: has a secret in its URI.*AWS_SECRET_ACCESS_KEY"
        ) as refusal:
            RunStore(uri)
        assert not any(part in str(refusal.value) for part in ("KEY:", "secret@", "ret@"))


@pytest.mark.parametrize(
    "url",
    ["postgresql://raymu:secret@host/name", "postgresql://raymu:@host/name", "postgresql://host/name?password=secret"],
)
def test_a_password_of_the_journal_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"cluster\.journal has a password.*PGPASSWORD") as refusal:
        check_journal_access(RunFiles(str(tmp_path / "run")), config_with(url))
    assert "secret" not in str(refusal.value)


def mount(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a line to the table of mounts, in Linux's format."""
    table = folder / "mounts"
    name = str(folder / "shared runs").replace(" ", "\\040")
    table.write_text(f"/dev/sda1 / ext4 rw 0 0\nhost:/x {name} ext4 rw 0 0\nhost:/x {name} {kind} rw,a=b 0 0\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)


@pytest.mark.parametrize(
    ("kind", "is_shared"),
    [
        *((kind, True) for kind in ("nfs4", "fuse.sshfs", "ocfs2", "gfs2")),
        *((kind, False) for kind in ("ext4", "overlay", "9p", "virtiofs")),
    ],
)
def test_a_file_system_that_machines_share_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_shared: bool
) -> None:
    mount(tmp_path, kind, monkeypatch)
    for inside in ("shared runs", "shared runs/one/run"):
        assert network_file_system(tmp_path / inside) == (kind if is_shared else None)
    assert network_file_system(tmp_path) is None
    (tmp_path / "link").symlink_to(tmp_path / "shared runs")
    assert (network_file_system(tmp_path / "link" / "run") is not None) == is_shared


def test_a_local_disk_is_not_a_network_file_system(tmp_path: Path) -> None:
    assert network_file_system(tmp_path) is None


@pytest.mark.parametrize("is_beside", [True, False])
def test_sqlite_on_a_file_system_that_machines_share_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_beside: bool
) -> None:
    mount(tmp_path, "nfs4", monkeypatch)
    shared, own = tmp_path / "shared runs", tmp_path
    location, journal = (shared, None) if is_beside else (own, f"sqlite:///{shared}/journal.sqlite")
    with pytest.raises(ConfigInvalid, match=r"shared runs.* is shared by machines \(nfs4\).*postgresql://"):
        check_journal_access(RunFiles(str(location / "run")), config_with(journal))
    check_journal_access(RunFiles(str(shared / "run")), config_with(f"sqlite:///{own}/journal.sqlite"))
