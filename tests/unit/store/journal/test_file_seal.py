"""The seal of a long journal reads what has changed alone, and says of the whole file what it always said."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from raymu.errors import CoordinatorSuperseded, FileCorrupt
from raymu.store import run as run_module
from raymu.store.files.run_files import RunFiles
from raymu.store.journal import file_seal
from raymu.store.journal.file_seal import JOURNAL, matches_seal
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from tests.support.journals import ACCEPTED, SETTLE, purge

PART = 8192


@pytest.fixture(autouse=True)
def long_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every file for a long one, which is not hashed when it is opened."""
    monkeypatch.setattr(file_seal, "DIVIDED_FROM_BYTES", 0)
    monkeypatch.setattr(file_seal, "PART_BYTES", PART)
    monkeypatch.setattr(run_module, "MOST_HASHED_ON_OPENING", 0)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets of the parts that are read."""
    offsets = list[int]()
    original = RunFiles.read_part

    def watched(files: RunFiles, path: str, offset: int, length: int) -> bytes:
        offsets.append(offset)
        return original(files, path, offset, length)

    monkeypatch.setattr(RunFiles, "read_part", watched)
    return offsets


@contextmanager
def coordinator(store: RunStore) -> Iterator[Journal]:
    journal, term = store.take_over()
    yield journal
    store.fencing.release(journal, term)


def accept(journal: Journal, first: int, count: int) -> None:
    names = [f"r{number}" for number in range(first, first + count)]
    forget = {name: {0: [name * 20]} for name in names}
    journal.accept(ACCEPTED, forget=forget, hashes={name: [f"{name} " * 20] for name in names})


def is_sealed(store: RunStore) -> bool | None:
    with closing(store.journal(is_read_only=True)) as journal:
        term, head = journal.position()
    return matches_seal(store.files, store.keys, term=term, sequence=head.sequence)


@pytest.fixture
def long_run(local_store: RunStore) -> RunStore:
    """A run whose journal was closed with many requests."""
    with coordinator(local_store) as journal:
        accept(journal, 0, 2_000)
    return local_store


def test_only_what_a_coordinator_changes_is_read(long_run: RunStore, read: list[int]) -> None:
    parts = long_run.files.size(JOURNAL) // PART
    assert parts > 90
    for number in range(3):
        read.clear()
        with coordinator(RunStore(long_run.location)) as journal:
            accept(journal, 5_000 + number, 1)
            purge(journal, f"r{5_000 + number}")
            journal.append(SETTLE)
        assert 0 < len(read) < 25
        assert is_sealed(long_run)


def test_changes_that_sqlite_moves_into_the_file_by_itself_are_known(long_run: RunStore, read: list[int]) -> None:
    """After a thousand pages it moves its log into the file, and begins the log anew."""
    with coordinator(RunStore(long_run.location)) as journal:
        for number in range(6):
            accept(journal, 10_000 + 300 * number, 300)
        read.clear()
    assert len(read) < long_run.files.size(JOURNAL) // PART
    assert is_sealed(long_run)


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_change_of_what_nothing_reads_is_found_after_the_next_seal(long_run: RunStore, is_closed: bool) -> None:
    """Also one that is made while a coordinator is at work."""
    file = Path(long_run.location) / JOURNAL
    place = unused_place(file)
    with coordinator(RunStore(long_run.location)) as journal:
        journal.append(SETTLE)
        if not is_closed:
            flip(file, place)
    if is_closed:
        flip(file, place)
    for _ in range(2):
        with coordinator(RunStore(long_run.location)) as journal:
            journal.append(SETTLE)
        assert is_sealed(long_run) is False


def unused_place(file: Path) -> int:
    """Return a byte between rows, in a page that later events do not touch: the free space of a leaf in the middle."""
    with closing(sqlite3.connect(file)) as connection:
        [(page_bytes,)] = connection.execute("PRAGMA page_size")
    payload = file.read_bytes()
    middle = len(payload) // 2 // page_bytes
    for page in range(middle, len(payload) // page_bytes):
        start = page * page_bytes
        cells = int.from_bytes(payload[start + 3 : start + 5])
        content = int.from_bytes(payload[start + 5 : start + 7])
        if payload[start] in (10, 13) and content > 8 + 2 * cells + 16:  # a leaf with space before its content
            return start + 8 + 2 * cells + 8
    raise AssertionError("no page has space")


def flip(file: Path, place: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(place)
        [byte] = opened.read(1)
        opened.seek(place)
        opened.write(bytes([byte ^ 1]))


def test_after_a_coordinator_that_was_lost_all_is_read(long_run: RunStore, read: list[int]) -> None:
    lost, _ = RunStore(long_run.location).take_over()
    accept(lost, 5_000, 50)
    lost.close()  # without a seal
    with coordinator(RunStore(long_run.location)) as journal:
        journal.append(SETTLE)
        read.clear()
    assert len(read) >= long_run.files.size(JOURNAL) // PART
    assert is_sealed(long_run)


def test_what_a_superseded_coordinator_changes_is_read(long_run: RunStore) -> None:
    first_store = RunStore(long_run.location)
    first, first_term = first_store.take_over()
    accept(first, 5_000, 50)
    with coordinator(RunStore(long_run.location)) as journal:
        accept(journal, 6_000, 50)
        with pytest.raises(CoordinatorSuperseded):
            first_store.fencing.release(first, first_term)
        accept(journal, 7_000, 50)
    assert is_sealed(long_run)


def test_the_seal_of_an_earlier_version_holds_and_is_divided_by_the_next(
    long_run: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(file_seal, "DIVIDED_FROM_BYTES", 2**40)
        with coordinator(RunStore(long_run.location)) as journal:
            journal.append(SETTLE)
    assert b"parts" not in long_run.files.read("journal.seal")
    assert is_sealed(long_run)
    with coordinator(RunStore(long_run.location)) as journal:
        journal.append(SETTLE)
    assert b"parts" in long_run.files.read("journal.seal")
    assert is_sealed(long_run)


def test_an_older_copy_of_the_file_is_refused(long_run: RunStore) -> None:
    file = Path(long_run.location) / JOURNAL
    older = file.read_bytes()
    with coordinator(RunStore(long_run.location)) as journal:
        journal.append(SETTLE)
    file.write_bytes(older)
    assert is_sealed(long_run) is False


def test_a_shorter_file_that_was_changed_is_refused(long_run: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(long_run.location) / JOURNAL
    monkeypatch.setattr(run_module, "MOST_HASHED_ON_OPENING", 2**30)
    flip(file, unused_place(file))
    with pytest.raises(FileCorrupt, match="not the file that its coordinator closed"):
        RunStore(long_run.location).take_over()
