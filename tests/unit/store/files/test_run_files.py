import errno
import os
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.records import FileRef
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable, RunInvalid, StorageFailed
from raymu.store.files.run_files import RunFiles
from tests.support.examples import file_size_limit
from tests.unit.store.conftest import STORAGES, new_location

PAYLOAD = b"weights of a small model"


@pytest.fixture
def files(location: str) -> RunFiles:
    return RunFiles(location)


@pytest.fixture
def local_files(tmp_path: Path) -> RunFiles:
    return RunFiles(str(tmp_path / "run"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module", params=STORAGES)
def shared_files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    return RunFiles(new_location(request, tmp_path_factory.mktemp("files")))


@given(payload=st.binary(max_size=2000))
def test_what_was_written_is_read_back_and_described(shared_files: RunFiles, payload: bytes) -> None:
    files = shared_files
    ref = files.write("folder/state", payload)
    assert files.read(ref.path) == files.read_checked(ref) == payload
    assert ref.byte_size == len(payload)


@pytest.mark.parametrize("parts", [[], [PAYLOAD], [b"a", b"", PAYLOAD * 100_000]])
def test_a_file_that_is_written_part_by_part_is_that_of_its_bytes(files: RunFiles, parts: list[bytes]) -> None:
    ref = files.write_stream("folder/state", ".bin", lambda file: file.writelines(parts))
    assert ref == files.write_content("folder/state", ".bin", b"".join(parts))
    assert files.read_checked(ref) == b"".join(parts)
    assert files.walk() == [ref.path]


def test_a_file_whose_writing_fails_leaves_nothing(files: RunFiles) -> None:
    def produce(file: IO[bytes]) -> None:
        file.write(PAYLOAD)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageFailed, match=r"folder/state: .*No space left on device"):
        files.write_stream("folder/state", ".bin", produce)
    assert files.walk() == []


@given(payload=st.binary(min_size=1, max_size=200), data=st.data())
def test_a_checked_read_finds_any_flipped_byte(shared: Path, payload: bytes, data: st.DataObject) -> None:
    files = RunFiles(str(shared))
    ref = files.write("flipped", payload)
    position = data.draw(st.integers(0, len(payload) - 1))
    damaged = bytearray(payload)
    damaged[position] ^= data.draw(st.integers(1, 255))
    (shared / "flipped").write_bytes(damaged)
    with pytest.raises(FileCorrupt, match="not those that were written"):
        files.read_checked(ref)


@given(payload=st.binary(min_size=1, max_size=200), data=st.data())
def test_a_checked_read_finds_any_truncation_or_addition(shared: Path, payload: bytes, data: st.DataObject) -> None:
    files = RunFiles(str(shared))
    ref = files.write("cut", payload)
    changed = data.draw(st.integers(0, len(payload) - 1).map(lambda end: payload[:end]) | st.just(payload + b"\0"))
    (shared / "cut").write_bytes(changed)
    with pytest.raises(
        FileCorrupt, match="cut: its bytes are not those that were written; restore the run from a backup"
    ):
        files.read_checked(ref)


def test_a_missing_file_is_named_with_its_run(files: RunFiles) -> None:
    with pytest.raises(FileMissing, match=r"run/shards/none is missing"):
        files.read("shards/none")
    with pytest.raises(FileMissing):
        files.read_checked(FileRef(path="shards/none", sha256="", byte_size=0))
    assert not files.exists("shards/none")


def test_a_file_is_deleted_once_and_missing_the_second_time(files: RunFiles) -> None:
    files.write("folder/state", PAYLOAD)
    assert files.exists("folder/state")
    assert files.delete("folder/state") == 1
    assert files.delete("folder/state") == 0
    assert files.delete("no folder/state") == 0
    assert not files.exists("folder/state")


def test_a_file_below_a_regular_file_was_never_there(files: RunFiles) -> None:
    files.write("state", PAYLOAD)
    assert files.delete("state/below") == 0
    assert not files.exists("state/below")
    with pytest.raises(FileMissing):
        files.read("state/below")


def test_files_are_listed_by_name_without_folders(files: RunFiles) -> None:
    for name in ("b", "a", "deeper/c"):
        files.write(f"folder/{name}", PAYLOAD)
    assert files.list("folder") == ["a", "b"]
    assert files.walk("folder") == ["folder/a", "folder/b", "folder/deeper/c"]
    assert files.list("no folder") == files.walk("no folder") == files.partial_writes() == []


def test_partly_written_files_are_listed_apart(local_files: RunFiles, tmp_path: Path) -> None:
    local_files.write("folder/a", PAYLOAD)
    (tmp_path / "run" / "folder" / ".d.17.partial").write_bytes(b"left by a crash")
    assert local_files.list("folder") == ["a"]
    assert local_files.partial_writes() == local_files.partial_writes("folder") == ["folder/.d.17.partial"]


def test_a_rewritten_file_is_the_new_one_alone(files: RunFiles) -> None:
    files.write("state", PAYLOAD * 10)
    ref = files.write("state", b"short")
    assert files.read_checked(ref) == b"short"
    assert files.walk() == ["state"]


def test_a_cached_read_returns_the_present_content(files: RunFiles, location: str) -> None:
    other = RunFiles(location)
    for payload in (b"1", b"1", b"2", b"3"):
        other.write("epoch", payload)
        assert files.read_cached("epoch") == files.read_cached("epoch") == payload
    other.delete("epoch")
    with pytest.raises(FileMissing):
        files.read_cached("epoch")


def test_a_removed_run_leaves_its_location_empty(files: RunFiles) -> None:
    assert files.is_empty
    folders = files.missing_folders()
    for number in range(3):
        files.write(f"folder/{number}", PAYLOAD)
    assert not files.is_empty
    files.delete("folder/0", "folder/1")
    files.delete_all(folders)
    assert files.is_empty
    assert files.walk() == []


def test_a_large_file_is_written_whole(files: RunFiles) -> None:
    payload = PAYLOAD * 500_000
    assert files.read_checked(files.write("state", payload)) == payload
    assert files.delete("state") == 1


def test_a_failing_write_leaves_only_the_complete_old_file(local_files: RunFiles, tmp_path: Path) -> None:
    files = local_files
    ref = files.write("state", PAYLOAD)
    with file_size_limit(100), pytest.raises(StorageFailed, match="see that it has room") as failure:
        files.write("state", b"x" * 1000)
    assert isinstance(failure.value.__cause__, OSError)
    assert failure.value.__cause__.errno == errno.EFBIG
    assert files.read_checked(ref) == PAYLOAD
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["state"]


def test_a_first_write_that_fails_half_way_leaves_no_file(local_files: RunFiles) -> None:
    files = local_files
    with file_size_limit(100), pytest.raises(StorageFailed):
        files.write("folder/state", b"x" * 1000)
    assert not files.exists("folder/state")
    assert files.list("folder") == []


def test_a_location_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no folder")
    with pytest.raises(StorageFailed, match="file/run/state: the storage failed"):
        RunFiles(str(tmp_path / "file" / "run")).write("state", PAYLOAD)


@pytest.mark.parametrize("location", ["nowhere://bucket/run", "://run", "a\0b", "x" * 300, "\udcff"])
def test_an_unknown_kind_of_location_is_refused(location: str) -> None:
    with pytest.raises(RunInvalid, match="is not a location for a run"):
        RunFiles(location)


def test_an_existing_path_without_content_is_unreadable(local_files: RunFiles, tmp_path: Path) -> None:
    files = local_files
    (tmp_path / "run" / "state").mkdir(parents=True)
    (tmp_path / "run" / "loop").symlink_to("loop")
    for name in ("state", "loop"):
        with pytest.raises(FileUnreadable, match=f"run/{name} cannot be read"):
            files.read(name)


@pytest.mark.parametrize("inside", ["file", "file/run/deeper", "link", "link/run", "device"])
def test_a_run_needs_a_location_for_its_directory(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "device").symlink_to("/dev/null")
    with pytest.raises(
        RunInvalid, match=f"is not a location for a run: .*{inside.partition('/')[0]} is not a directory"
    ):
        RunFiles(str(tmp_path / inside)).missing_folders()


def test_folders_made_for_a_run_are_removed_with_it_and_others_stay(tmp_path: Path) -> None:
    files = RunFiles(str(tmp_path / "runs" / "one"))
    folders = files.missing_folders()
    assert folders == (tmp_path / "runs" / "one", tmp_path / "runs")
    files.write("folder/state", PAYLOAD)
    files.delete_all(folders)
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs" / "one").mkdir(parents=True)
    folders = files.missing_folders()
    assert folders == ()
    files.write("folder/state", PAYLOAD)
    files.delete_all(folders)
    assert list((tmp_path / "runs" / "one").iterdir()) == []


def test_a_folder_that_contains_another_run_stays(tmp_path: Path) -> None:
    files = RunFiles(str(tmp_path / "runs" / "one"))
    folders = files.missing_folders()
    RunFiles(str(tmp_path / "runs" / "two")).write("state", PAYLOAD)
    files.write("state", PAYLOAD)
    files.delete_all(folders)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["two"]


def test_a_private_file_is_readable_by_its_owner_only(local_files: RunFiles, tmp_path: Path) -> None:
    files = local_files
    files.write("key", PAYLOAD, mode=0o600)
    files.write("state", PAYLOAD)
    assert (tmp_path / "run" / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "run" / "state").stat().st_mode & 0o400


@pytest.mark.parametrize("name", ["run", "a run", "50% #1?"])
def test_a_path_and_its_file_uri_are_the_same_location(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    by_path, by_uri = RunFiles(str(place)), RunFiles(place.as_uri())
    assert by_path.local == by_uri.local == place
    ref = by_uri.write("folder/state", PAYLOAD)
    assert by_path.read_checked(ref) == (place / "folder" / "state").read_bytes() == PAYLOAD
    assert by_path.delete("folder/state")
    assert by_uri.list("folder") == []


@pytest.mark.parametrize("inside", ["state", ".hidden", "folder/"])
def test_a_directory_with_any_entry_is_not_empty(tmp_path: Path, inside: str) -> None:
    files = RunFiles(str(tmp_path / "run"))
    assert files.is_empty
    (tmp_path / "run").mkdir()
    assert files.is_empty
    place = tmp_path / "run" / inside
    place.mkdir() if inside.endswith("/") else place.touch()
    assert not files.is_empty


def test_a_regular_file_is_not_an_empty_location(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    assert not RunFiles(str(tmp_path / "run")).is_empty


@pytest.mark.parametrize("inside", ["extra", "shards/extra"])
def test_no_listing_follows_a_link(local_files: RunFiles, tmp_path: Path, inside: str) -> None:
    files = local_files
    files.write("shards/state", PAYLOAD)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "thesis").write_text("mine")
    (tmp_path / "run" / inside).symlink_to(tmp_path / "outside")
    (tmp_path / "run" / "up").symlink_to(tmp_path / "run")
    assert files.walk() == files.walk("shards") == ["shards/state"]
    assert files.irregular() == sorted([inside, "up"])
    assert files.list("extra") == files.walk("extra") == files.walk("up/shards") == []
    files.delete_all(())
    assert (tmp_path / "outside" / "thesis").read_text() == "mine"


def test_nothing_is_written_or_deleted_through_a_link(local_files: RunFiles, tmp_path: Path) -> None:
    files = local_files
    (tmp_path / "run").mkdir()
    (tmp_path / "outside" / "0000").mkdir(parents=True)
    (tmp_path / "outside" / "0000" / "state").write_text("mine")
    (tmp_path / "run" / "shards").symlink_to(tmp_path / "outside")
    for change in (lambda: files.write("shards/0000/state", PAYLOAD), lambda: files.delete("shards/0000/state")):
        with pytest.raises(StorageFailed, match="a link"):
            change()
    assert (tmp_path / "outside" / "0000" / "state").read_text() == "mine"


@pytest.mark.parametrize("path", ["../precious", "shards/../../precious"])
def test_no_path_leads_out_of_the_run(local_files: RunFiles, tmp_path: Path, path: str) -> None:
    """Paths come from a journal, which may be somebody else's, with the keys that seal it."""
    (tmp_path / "precious").write_bytes(b"kept")
    local_files.write("shards/state", PAYLOAD)
    ref = FileRef(path=path, sha256="", byte_size=0)
    for attempt in (
        lambda: local_files.delete(path),
        lambda: local_files.write(path, PAYLOAD),
        lambda: local_files.read(path),
        lambda: local_files.adopt(RunFiles(str(tmp_path / "other")), [ref]),
    ):
        with pytest.raises(FileCorrupt, match="leads out of it"):
            attempt()
    assert (tmp_path / "precious").read_bytes() == b"kept"


def test_a_run_that_is_itself_behind_a_link_is_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    files = RunFiles(str(tmp_path / "run"))
    files.write("shards/state", PAYLOAD)
    assert files.walk() == ["shards/state"]
    assert files.irregular() == []
    assert files.delete("shards/state") == 1


def test_a_pipe_is_not_waited_for(local_files: RunFiles, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "hash.key")
    with pytest.raises(FileUnreadable, match="not a file"):
        local_files.read("hash.key")


def test_only_files_of_the_run_are_removed_with_it(local_files: RunFiles, tmp_path: Path) -> None:
    local_files.write("shards/0000/state", PAYLOAD)
    local_files.write("shards/notes.txt", PAYLOAD)
    local_files.delete_all((tmp_path / "run",), is_own=lambda path: path.endswith("state"))
    assert local_files.walk() == ["shards/notes.txt"]
    assert not (tmp_path / "run" / "shards" / "0000").exists()
