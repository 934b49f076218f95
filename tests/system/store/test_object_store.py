"""Files of a run on an object store: requests, pages, versions, and what it refuses."""

import pytest

from raymu.errors import RunInvalid
from raymu.store.creation import create_run, require_empty
from raymu.store.files.concurrency import map_concurrently
from raymu.store.files.run_files import RunFiles
from raymu.store.journal.fencing import check_journal_access
from raymu.store.run import RunStore
from tests.support.manifests import CONFIG, with_journal
from tests.support.object_store_server import ObjectStoreServer
from tests.support.postgres_server import PostgresServer


def test_a_bucket_that_does_not_exist_is_refused(object_store: ObjectStoreServer) -> None:
    with pytest.raises(RunInvalid, match=r"s3://no-bucket/run: .* its bucket does not exist"):
        require_empty(RunStore(object_store.uri("no-bucket/run")))


def test_a_bucket_that_keeps_versions_is_refused_and_left_empty(
    object_store: ObjectStoreServer, postgres: PostgresServer
) -> None:
    bucket = object_store.new_bucket(is_versioned=True)
    store = RunStore(object_store.uri(f"{bucket}/run"))
    with pytest.raises(RunInvalid, match="keeps versions"):
        create_run(store, with_journal(str(postgres.new_database())))
    assert store.files.walk() == []


def test_an_unchanged_term_is_not_fetched_again(object_store: ObjectStoreServer) -> None:
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


def test_destroyed_files_are_not_in_the_bucket(object_store: ObjectStoreServer) -> None:
    bucket = object_store.new_bucket()
    files = RunFiles(object_store.uri(f"{bucket}/run"))
    files.write("shards/0000/state", b"weights of zoe")
    files.delete("shards/0000/state")
    listing = object_store.client.list_object_versions(Bucket=bucket)
    assert [version["Key"] for version in listing.get("Versions", ()) if version["Size"]] == []
    assert "DeleteMarkers" not in listing


def test_a_run_on_an_object_store_needs_a_database(object_store: ObjectStoreServer) -> None:
    store = RunStore(object_store.uri(f"{object_store.new_bucket()}/run"))
    with pytest.raises(RunInvalid, match=r"/run: is not on a local disk.*cluster\.journal=postgresql://") as refusal:
        check_journal_access(store.files, CONFIG)
    assert "endpoint_override" not in str(refusal.value)
