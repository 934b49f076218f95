from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.config import Config
from raymu.core.commands import RepairReport
from raymu.core.records import CheckpointRef, FileRef
from raymu.errors import FileCorrupt, FileMissing, RunInvalid
from raymu.store.creation import create_run, remove_run, require_empty, write_new_shard
from raymu.store.finished_shard import FinishedShard
from raymu.store.manifest import RunManifest
from raymu.store.run import RunStore
from tests.support.manifests import MANIFEST
from tests.support.stored_records import reports


def with_public_key(store: RunStore, manifest: RunManifest) -> RunManifest:
    """Return the manifest as a new run has it, bound to the key that signs the receipts."""
    return replace(manifest, public_key=store.keys.public_key.hex())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    store = RunStore(str(tmp_path_factory.mktemp("run")))
    create_run(store, MANIFEST)
    return store


def test_an_opened_run_is_the_one_that_was_created(store: RunStore, manifest: RunManifest) -> None:
    opened = RunStore(store.location)
    assert opened.manifest == with_public_key(store, manifest)
    assert opened.config == Config.parse(manifest.config)
    assert opened.keys.hash_key == store.keys.hash_key
    assert len(opened.keys.hash_key) == 32


def test_every_run_has_its_own_key_which_other_users_cannot_read(local_store: RunStore, tmp_path: Path) -> None:
    store = local_store
    other = RunStore(str(tmp_path / "other"))
    create_run(other, MANIFEST)
    assert other.keys.hash_key != store.keys.hash_key
    assert other.keys.signing_key != store.keys.signing_key
    for name in ("hash.key", "signing.key"):
        assert (tmp_path / "run" / name).stat().st_mode & 0o777 == 0o600


def test_a_run_is_never_created_over_another(store: RunStore, manifest: RunManifest) -> None:
    with pytest.raises(RunInvalid, match="holds a run already"):
        create_run(RunStore(store.location), replace(manifest, classes=3))
    assert RunStore(store.location).manifest == with_public_key(store, manifest)


@pytest.mark.parametrize("inside", ["thesis.tex", ".git", "other runs/"])
def test_a_run_is_created_in_an_empty_location_only(tmp_path: Path, inside: str) -> None:
    place = tmp_path / "run" / inside
    place.parent.mkdir()
    place.mkdir() if inside.endswith("/") else place.touch()
    with pytest.raises(RunInvalid, match="is not empty"):
        create_run(RunStore(str(tmp_path / "run")), MANIFEST)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [place.name]


def test_a_removed_run_leaves_nothing(local_store: RunStore, tmp_path: Path) -> None:
    store = local_store
    store.write_state(0, "stage-00", b"weights")
    remove_run(store, [tmp_path / "run"])
    assert not (tmp_path / "run").exists()
    require_empty(store)


def test_a_run_that_was_not_trained_has_no_generation(store: RunStore) -> None:
    with pytest.raises(RunInvalid, match="no generation yet: its training did not finish"):
        store.current()


@given(report=reports)
def test_a_report_is_found_until_it_is_deleted(shared: RunStore, report: RepairReport) -> None:
    files = [shared.write_state(1, "stage-1", str(number).encode()) for number in range(2)]
    checkpoint = CheckpointRef(stage=1, file=files[0], weights_sha256="w", descent="d")
    lineage = replace(
        report.lineage,
        table=files[1],
        slice_samples=(1,),
        checkpoints=(checkpoint,),
        updates=(None,),
        serving=checkpoint,
        tainted_from=None,
        debts=(),
    )
    report = replace(report, lineage=lineage)
    assert shared.reports.find(RepairReport, report.command_id) is None
    shared.reports.write(report)
    assert shared.reports.find(RepairReport, report.command_id) == report
    for _ in range(2):
        shared.reports.delete([report.command_id])
        assert shared.reports.find(RepairReport, report.command_id) is None


@given(report=reports)
def test_a_report_counts_only_while_its_files_exist(shared: RunStore, report: RepairReport) -> None:
    shared.reports.write(report)
    assert shared.reports.find(RepairReport, report.command_id) is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Partial:
    command_id: str
    stages: int


def test_a_partial_report_is_deleted_with_the_report(store: RunStore) -> None:
    reports, interim = store.reports, Partial(command_id="train-0003", stages=1)
    assert reports.find_partial(Partial, "train-0003") is None
    reports.write_partial(interim)
    reports.write_partial(replace(interim, stages=2))
    assert reports.find_partial(Partial, "train-0003") == replace(interim, stages=2)
    assert (reports.partial, reports.finished) == (["train-0003"], [])
    reports.delete(["train-0003"])
    assert reports.find_partial(Partial, "train-0003") is None


def test_a_partial_report_that_is_changed_or_of_another_command_is_refused(store: RunStore) -> None:
    store.reports.write_partial(Partial(command_id="train-0003", stages=1))
    payload = store.files.read("reports/train-0003.interim.json")
    store.files.write("reports/train-0004.interim.json", payload)
    store.files.write("reports/train-0005.interim.json", payload[:-9])
    for command_id, problem in (("train-0004", "another command"), ("train-0005", "not what was written")):
        with pytest.raises(FileCorrupt, match=problem):
            store.reports.find_partial(Partial, command_id)


def test_deleting_the_garbage_of_a_shard_keeps_partial_reports_of_others(store: RunStore) -> None:
    running, broken_off, others = "repair-0003-00000000000000aa", "repair-0003-00000000000000bb", "train-0013"
    for command_id in (running, broken_off, others):
        store.reports.write_partial(Partial(command_id=command_id, stages=1))
    store.garbage.delete_of_shard((), {running}, 3)
    assert store.reports.partial == [running, others]
    store.garbage.delete((), ())
    assert store.reports.partial == []


@given(payloads=st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_state_files_are_named_by_content(tmp_path_factory: pytest.TempPathFactory, payloads: Sequence[bytes]) -> None:
    store = RunStore(str(tmp_path_factory.mktemp("run")))
    refs = [store.write_state(3, "stage-01", payload) for payload in payloads]
    assert len(set(refs)) == len(set(payloads)) == len(store.files.list("shards/0003"))
    assert [store.files.read_checked(ref) for ref in refs] == payloads
    assert store.destroy(refs[:1] * 2) == 1
    with pytest.raises(FileMissing):
        store.files.read(refs[0].path)


def test_destroying_files_counts_the_existing_ones(store: RunStore) -> None:
    refs = [store.write_state(0, f"stage-{stage:02d}", b"%d" % stage) for stage in range(3)]
    store.files.delete(refs[1].path)
    assert store.destroy(frozenset(refs)) == 2
    assert store.destroy(frozenset(refs)) == 0


def test_garbage_is_deleted(store: RunStore, manifest: RunManifest) -> None:
    needed = store.write_state(0, "stage-0", b"needed")
    stray, other = store.write_state(0, "stage-1", b"stray"), store.write_state(1, "stage-1", b"other")
    table, others = (store.samples.write_table(shard, pa.table({"id": [shard]})) for shard in (0, 1))
    store.garbage.delete_of_shard({needed}, (), 0)
    assert present(store, needed, stray, other, table, others) == {needed, other, others}
    store.garbage.delete({needed}, ())
    assert present(store, needed, other, others) == {needed}
    assert RunStore(store.location).manifest == with_public_key(store, manifest)


def present(store: RunStore, *refs: FileRef) -> set[FileRef]:
    return {ref for ref in refs if store.files.exists(ref.path)}


@pytest.mark.parametrize("is_whole_run", [True, False])
def test_partly_written_files_are_deleted(local_store: RunStore, tmp_path: Path, is_whole_run: bool) -> None:
    kept = local_store.write_state(0, "stage-0", b"needed")
    half_written = [
        tmp_path / "run" / place for place in ("shards/0000/.stage-2.17.partial", "samples/.0000.17.partial")
    ]
    for place in half_written:
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"half")
    if is_whole_run:
        local_store.garbage.delete({kept}, ())
    else:
        local_store.garbage.delete_of_shard({kept}, (), 0)
    assert not any(place.exists() for place in half_written)
    assert local_store.files.exists(kept.path)


def test_an_interrupted_creation_starts_again(location: str, manifest: RunManifest) -> None:
    class Crash(Exception):
        pass

    def shards() -> Iterator[FinishedShard]:
        yield write_new_shard(store, 0, pa.table({"id": [1], "slice": [0]}), config)
        raise Crash

    store, config = RunStore(location), Config.parse(manifest.config)
    with pytest.raises(Crash):
        create_run(store, manifest, shards())
    with pytest.raises(RunInvalid, match="not a run"):
        _ = RunStore(store.location).manifest
    again = RunStore(store.location)
    table = pa.table({"id": [1, 2], "slice": [0, 0]})
    create_run(again, manifest, (write_new_shard(again, 0, table, config) for _ in range(1)))
    assert again.samples.read_table(again.manifest.tables[0]).num_rows == 2
    assert len(again.files.list("samples")) == 2, "the table, and its index"


def test_an_empty_file_is_a_file(store: RunStore) -> None:
    ref = store.write_state(0, "empty", b"")
    assert ref == FileRef(path=ref.path, sha256=ref.sha256, byte_size=0)
    assert store.files.read_checked(ref) == b""


def test_a_malformed_key_is_refused(store: RunStore) -> None:
    store.files.write("hash.key", b"no key")
    with pytest.raises(FileCorrupt, match=r"run/hash\.key: not a key"):
        _ = RunStore(store.location).manifest


def test_a_file_of_the_user_is_no_garbage(local_store: RunStore, tmp_path: Path) -> None:
    notes = tmp_path / "run" / "shards" / "0000" / "notes.txt"
    local_store.write_state(0, "stage-0", b"not needed")
    notes.write_text("mine")
    local_store.garbage.delete((), ())
    assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]


def test_a_mark_of_an_unfinished_run_deletes_nothing_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "unfinished").touch()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(RunInvalid, match="is not empty"):
        create_run(RunStore(str(tmp_path / "run")), MANIFEST)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"
