"""What a run is refused for the place that it, its journal or its data would lie in, each in one line without secrets."""

from pathlib import Path

import pytest

from raymu.config import Config
from raymu.errors import ConfigInvalid, RunInvalid
from raymu.store.files.concurrency import map_concurrently
from raymu.store.files.run_files import RunFiles
from raymu.store.journal import network_fs as mounts
from raymu.store.journal.fencing import check_journal_access
from raymu.store.journal.network_fs import network_file_system
from raymu.store.run import RunStore
from tests.support.object_store_server import ObjectStoreServer
from tests.support.postgres_server import PostgresServer
from tests.unit.store.manifests import CONFIG, with_journal

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


def test_a_bucket_that_is_not_there_is_refused(object_store: ObjectStoreServer) -> None:
    with pytest.raises(RunInvalid, match=r"s3://no-bucket/run: .* its bucket does not exist"):
        RunStore(object_store.uri("no-bucket/run")).require_empty()


def test_a_bucket_that_keeps_versions_is_refused_and_left_empty(
    object_store: ObjectStoreServer, postgres: PostgresServer
) -> None:
    bucket = object_store.new_bucket(is_versioned=True)
    store = RunStore(object_store.uri(f"{bucket}/run"))
    with pytest.raises(RunInvalid, match="keeps versions"):
        store.create(with_journal(str(postgres.new_database())))
    assert store.files.walk() == []


def test_an_epoch_that_is_the_one_of_last_time_is_not_fetched_again(object_store: ObjectStoreServer) -> None:
    files = RunFiles(object_store.uri(f"{object_store.new_bucket()}/run"))
    with object_store.counted() as written:
        files.write("epoch", b"1")
    assert written == {"PUT": 1}
    files.read_cached("epoch")
    with object_store.counted() as read:
        files.read_cached("epoch")
    assert read == {"HEAD": 1}


def test_more_objects_than_a_page_holds_are_all_listed_and_removed(object_store: ObjectStoreServer) -> None:
    files = RunFiles(object_store.uri(f"{object_store.new_bucket()}/run"))
    paths = [f"reports/{number:04d}" for number in range(1005)]
    map_concurrently(lambda path: files.write(path, b""), paths)
    with object_store.counted() as listed:
        assert files.walk() == paths
    assert listed == {"GET": 2}
    assert files.delete(*paths[:20], "reports/none") == 20
    with object_store.counted() as removed:
        files.delete_all(())
    assert sum(removed.values()) < 20
    assert files.is_empty


def test_what_is_destroyed_is_gone_from_the_bucket(object_store: ObjectStoreServer) -> None:
    bucket = object_store.new_bucket()
    files = RunFiles(object_store.uri(f"{bucket}/run"))
    files.write("shards/0000/state", b"weights of zoe")
    files.delete("shards/0000/state")
    found = object_store.client.list_object_versions(Bucket=bucket)
    assert [one["Key"] for one in found.get("Versions", ()) if one["Size"]] == []
    assert "DeleteMarkers" not in found


def test_a_run_on_an_object_store_needs_a_database(object_store: ObjectStoreServer) -> None:
    store = RunStore(object_store.uri(f"{object_store.new_bucket()}/run"))
    with pytest.raises(RunInvalid, match=r"/run: is not on a local disk.*cluster\.journal=postgresql://") as refusal:
        check_journal_access(store.files, CONFIG)
    assert "endpoint_override" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://raymu:secret@host/name", "postgresql://raymu:@host/name", "postgresql://host/name?password=secret"],
)
def test_a_password_of_the_journal_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"cluster\.journal has a password.*PGPASSWORD") as refusal:
        check_journal_access(RunFiles(str(tmp_path / "run")), config_with(url))
    assert "secret" not in str(refusal.value)


def mount(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a table of mounts as Linux writes it, with one more."""
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


def test_this_machine_says_what_its_own_disks_are(tmp_path: Path) -> None:
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
