from pathlib import Path

import pytest

from raymu.errors import CoordinatorSuperseded, RunInvalid
from raymu.store.creation import create_run
from raymu.store.files.local import LocalDisk
from raymu.store.files.run_files import RunFiles
from raymu.store.run import RunStore
from tests.support.manifests import MANIFEST, with_journal


@pytest.mark.parametrize("name", ["run", "a run", "is it? 50% #1"])
def test_the_journal_of_a_local_run_is_in_its_directory(tmp_path: Path, name: str) -> None:
    store = RunStore(str(tmp_path / name))
    create_run(store, MANIFEST)
    assert (tmp_path / name / "journal.sqlite").exists()


def test_a_configured_journal_is_used_instead(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path / "run"))
    create_run(store, with_journal(f"sqlite:///{tmp_path / 'elsewhere.sqlite'}"))
    assert (tmp_path / "elsewhere.sqlite").exists()
    assert not (tmp_path / "run" / "journal.sqlite").exists()


def test_a_run_without_its_journal_is_reported(local_store: RunStore, tmp_path: Path) -> None:
    store = local_store
    (tmp_path / "run" / "journal.sqlite").unlink()
    with pytest.raises(RunInvalid, match=r"has lost its journal\.sqlite"):
        store.journal()
    assert not (tmp_path / "run" / "journal.sqlite").exists()


def test_a_superseded_coordinator_writes_and_destroys_no_file(store: RunStore) -> None:
    journal, term = store.take_over()
    kept = store.write_state(0, "stage-0", b"weights")
    successor = RunStore(store.location)
    other, _ = successor.take_over()
    before = successor.files.walk()
    for write in (
        lambda: store.write_state(0, "stage-1", b"weights"),
        lambda: store.destroy([kept]),
        lambda: store.garbage.delete((), ()),
    ):
        with pytest.raises(CoordinatorSuperseded, match=f"term {term + 1} after {term}"):
            write()
    assert successor.files.walk() == before
    successor.write_state(0, "stage-1", b"weights")
    journal.close()
    other.close()


def test_a_suspended_writer_leaves_no_file(tmp_path: Path) -> None:
    class Disk(LocalDisk):
        """A disk on which another coordinator takes over during a write."""

        def write(self, path: Path, payload: bytes, mode: int) -> None:
            super().write(path, payload, mode)
            if "stage" in path.name:
                RunStore(str(tmp_path / "run")).take_over()[0].close()

    store = RunStore(str(tmp_path / "run"), RunFiles(str(tmp_path / "run"), disk=Disk()))
    create_run(store, MANIFEST)
    journal, _ = store.take_over()
    with pytest.raises(CoordinatorSuperseded):
        store.write_state(0, "stage-1", b"weights")
    assert not [path for path in store.files.walk() if "stage" in path]
    journal.close()


def test_a_journal_that_is_older_than_its_files_cannot_be_taken_over(store: RunStore) -> None:
    store.files.write("epoch", b"7")
    with pytest.raises(RunInvalid, match=r"term 1 after 7.*same backup"):
        store.take_over()
