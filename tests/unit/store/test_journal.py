import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from hypothesis import given, settings
from hypothesis import strategies as st

from raymu.core.events import Event, RequestsPurged, RevocationsAccepted, SettleRequested
from raymu.core.records import SampleId
from raymu.errors import (
    ConfigInvalid,
    CoordinatorSuperseded,
    FileCorrupt,
    FileUnreadable,
    RunInvalid,
    StorageFull,
)
from raymu.store.database import Database, parse_url
from raymu.store.journal import Journal
from tests.unit.store.strategies import EVENTS, names

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
ACCEPTED = RevocationsAccepted(at=NOW, requests=(), generation=3)
SETTLE = SettleRequested(at=NOW, shards=(1,))


def purged(*request_ids: str) -> RequestsPurged:
    return RequestsPurged(at=NOW, request_ids=request_ids, files=(), rows=2)


def open_journal(url: sql.URL, *, run: str = "run", key: bytes = b"key", is_read_only: bool = False) -> Journal:
    return Journal(Database(url, is_read_only=is_read_only), run=run, key=key)


def begin(url: sql.URL, **named: Any) -> Journal:
    """A new journal, taken over."""
    journal = open_journal(url, **named)
    journal.create()
    journal.take_over()
    return journal


def purge(journal: Journal, *request_ids: str) -> None:
    with journal.writing() as entry:
        entry.purge(purged(*request_ids))
    journal.erase_purged()


@pytest.fixture
def url(tmp_path: Path) -> sql.URL:
    return sql.make_url(f"sqlite:///{tmp_path / 'journal.sqlite'}")


@pytest.fixture
def journal(url: sql.URL) -> Iterator[Journal]:
    journal = begin(url)
    yield journal
    journal.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    journal = begin(sql.make_url(f"sqlite:///{tmp_path_factory.mktemp('run') / 'journal.sqlite'}"))
    yield journal
    journal.close()


@settings(max_examples=20)
@pytest.mark.parametrize("kind", range(len(EVENTS)))
@given(data=st.data())
def test_every_kind_of_event_is_read_back_as_it_was(shared: Journal, kind: int, data: st.DataObject) -> None:
    event = data.draw(EVENTS[kind])
    shared.append(event)
    *_, last = shared.events()
    assert last == event
    assert type(last) is type(event)


def test_every_event_there_is_has_a_strategy() -> None:
    assert len(EVENTS) == len(Event.__args__)


@settings(max_examples=20)
@given(batches=st.lists(st.lists(st.one_of(EVENTS), min_size=1, max_size=3), max_size=4))
def test_events_keep_their_order(shared: Journal, batches: Sequence[Sequence[Event]]) -> None:
    before = list(shared.events())
    for batch in batches:
        shared.append(*batch)
    assert list(shared.events()) == before + [event for batch in batches for event in batch]


def test_a_reopened_journal_holds_what_was_acknowledged(journal: Journal, url: sql.URL) -> None:
    journal.append(SETTLE, purged("r1"))
    reader = open_journal(
        url, is_read_only=True
    )  # the first is still open: as after a crash, nothing was closed in order
    assert list(reader.events()) == [SETTLE, purged("r1")]
    reader.close()


def test_accepted_ids_are_kept_by_request_and_shard_with_their_type(journal: Journal) -> None:
    forget: dict[str, dict[int, list[SampleId]]] = {"r1": {0: [7, 8], 2: ["7", "Zoë"]}, "r2": {0: [9]}}
    journal.accept(ACCEPTED, forget=forget, hashes={"r1": ["a", "b"], "r2": ["c"]})
    assert list(journal.events()) == [ACCEPTED]
    assert journal.sample_ids(shard=0) == {"r1": {7, 8}, "r2": {9}}
    assert journal.sample_ids(shard=1) == {}
    assert journal.sample_ids(shard=2) == {"r1": {"7", "Zoë"}}
    assert journal.revoked_by(["a", "c", "d"]) == {"a": "r1", "c": "r2"}


@settings(max_examples=20)
@given(ids=st.lists(st.integers() | names, min_size=1, unique_by=lambda one: (type(one), one)))
def test_any_id_is_kept_until_its_request_is_purged(shared: Journal, ids: list[SampleId]) -> None:
    shared.accept(
        ACCEPTED, forget={"r": {5: ids}}, hashes={"r": [f"revoked after {len(list(shared.events()))} events"]}
    )
    assert shared.sample_ids(shard=5) == {"r": set(ids)}
    purge(shared, "r")
    assert shared.sample_ids(shard=5) == {}


def test_requests_are_accepted_together_or_not_at_all(journal: Journal) -> None:
    journal.accept(ACCEPTED, forget={"r1": {0: [1]}}, hashes={"r1": ["a"]})
    with pytest.raises(StorageFull, match="UNIQUE"):
        journal.accept(ACCEPTED, forget={"r2": {0: [2]}, "r3": {0: [3]}}, hashes={"r2": ["b"], "r3": ["a"]})
    assert list(journal.events()) == [ACCEPTED]
    assert journal.sample_ids(shard=0) == {"r1": {1}}
    assert journal.revoked_by(["a", "b"]) == {"a": "r1"}


def test_a_purge_drops_raw_ids_and_keeps_their_hashes(journal: Journal) -> None:
    forget: dict[str, dict[int, list[SampleId]]] = {
        name: {0: [number]} for number, name in enumerate(("r1", "r2", "r3"))
    }
    journal.accept(ACCEPTED, forget=forget, hashes={"r1": ["a"], "r2": ["b"], "r3": ["c"]})
    purge(journal, "r1", "r3")
    assert journal.sample_ids(shard=0) == {"r2": {1}}
    assert journal.revoked_by(["a", "b", "c"]) == {"a": "r1", "b": "r2", "c": "r3"}
    assert list(journal.events()) == [ACCEPTED, purged("r1", "r3")]


def files_with(folder: Path, text: str) -> set[str]:
    return {path.name for path in folder.iterdir() if text.encode() in path.read_bytes()}


@pytest.mark.parametrize("count", [1, 3000])
def test_purged_ids_leave_no_bytes_in_the_files_of_an_open_journal(
    journal: Journal, tmp_path: Path, count: int
) -> None:
    forget: dict[str, dict[int, list[SampleId]]] = {
        name: {0: [f"{name}-{number}@example.org" for number in range(count)]} for name in ("anna", "zoe")
    }
    journal.accept(ACCEPTED, forget=forget, hashes={"anna": ["a"], "zoe": ["z"]})
    assert files_with(tmp_path, "zoe-0@example.org")
    purge(journal, "zoe")
    assert files_with(tmp_path, "zoe-") == set()
    assert files_with(tmp_path, "anna-0@example.org") == {"journal.sqlite"}


def test_bytes_that_a_crash_left_behind_are_gone_after_the_next_take_over(
    journal: Journal, url: sql.URL, tmp_path: Path
) -> None:
    journal.accept(ACCEPTED, forget={"r": {0: ["zoe@example.org"]}}, hashes={"r": ["z"]})
    killed = sqlite3.connect(tmp_path / "journal.sqlite")  # purges, and never comes to empty its log
    killed.execute("PRAGMA secure_delete=ON")
    killed.execute("DELETE FROM forget")
    killed.commit()
    assert files_with(tmp_path, "zoe@example.org") == {"journal.sqlite-wal"}
    successor = open_journal(url)
    successor.take_over()
    assert files_with(tmp_path, "zoe@example.org") == set()
    successor.close()
    killed.close()


WRITES: dict[str, Callable[[Journal], None]] = {
    "append": lambda journal: journal.append(SETTLE),
    "accept": lambda journal: journal.accept(ACCEPTED, forget={"r2": {0: [2]}}, hashes={"r2": ["b"]}),
    "purge": lambda journal: purge(journal, "r1"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_superseded_coordinator_writes_nothing(
    journal: Journal, url: sql.URL, write: Callable[[Journal], None]
) -> None:
    journal.accept(ACCEPTED, forget={"r1": {0: [1]}}, hashes={"r1": ["a"]})
    successor = open_journal(url)
    epoch = successor.take_over()
    with pytest.raises(CoordinatorSuperseded, match=f"epoch {epoch} after {epoch - 1}") as refusal:
        write(journal)
    assert (refusal.value.epoch, refusal.value.current) == (epoch - 1, epoch)
    assert list(successor.events()) == [ACCEPTED]
    assert successor.sample_ids(shard=0) == {"r1": {1}}
    write(successor)
    assert len(list(journal.events())) == 2  # reading stays allowed
    successor.close()


def test_a_take_over_never_slips_between_the_check_of_the_epoch_and_the_commit(
    journal: Journal, tmp_path: Path
) -> None:
    successor = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    successor.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(journal.append, SETTLE)
        assert not wait([late], timeout=0.2).done  # it waits for the other's transaction
        successor.execute("UPDATE runs SET epoch = epoch + 1")
        successor.execute("COMMIT")
        with pytest.raises(CoordinatorSuperseded):
            late.result()
    successor.close()
    assert list(journal.events()) == []


def test_epochs_rise_with_every_take_over(url: sql.URL) -> None:
    open_journal(url).create()
    journals = [open_journal(url) for _ in range(3)]
    assert [journal.take_over() for journal in journals] == [1, 2, 3]
    for journal in journals:
        journal.close()


@pytest.mark.parametrize("count", [0, 499, 500, 501, 1700])
def test_any_number_of_hashes_is_looked_up(journal: Journal, count: int) -> None:
    revoked = [f"{number:064x}" for number in range(count)]
    journal.accept(ACCEPTED, forget={"r1": {0: [1]}}, hashes={"r1": [*revoked, "last"]})
    asked = [hashed for number in range(count) for hashed in (f"{number:064x}", f"unknown {number}")]
    assert journal.revoked_by(asked) == dict.fromkeys(revoked, "r1")


def test_commits_survive_a_power_cut_and_deleted_rows_are_overwritten(journal: Journal) -> None:
    def pragma(name: str) -> object:
        with journal._database.reading() as connection:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()

    full, on, seconds = 2, 1, 10_000
    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == full
    assert pragma("secure_delete") == on
    assert pragma("busy_timeout") == seconds


def test_a_database_that_cannot_be_opened_is_storage_to_be_mended(tmp_path: Path) -> None:
    with pytest.raises(StorageFull, match="the journal could not be written"):
        begin(sql.make_url(f"sqlite:///{tmp_path / 'no folder' / 'journal.sqlite'}"))
    (tmp_path / "letter.csv").write_text("not a database, though as long as one may be\n" * 100)
    with pytest.raises(StorageFull, match="file is not a database"):
        begin(sql.make_url(f"sqlite:///{tmp_path / 'letter.csv'}"))


def change(path: Path, statement: str) -> None:
    other = sqlite3.connect(path)
    other.execute(statement)
    other.commit()
    other.close()


CHANGES = {
    "changed": "UPDATE events SET payload = replace(payload, '[1]', '[2]') WHERE sequence = 2",
    "missing": "DELETE FROM events WHERE sequence = 2",
    "put elsewhere": "UPDATE events SET sequence = 10 - sequence",
    "made up": "INSERT INTO events SELECT run, 4, kind, payload, seal FROM events WHERE sequence = 3",
    "of another run": "UPDATE events SET run = 'other' WHERE sequence = 1",
}


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES)
def test_an_event_that_is_not_what_was_written_is_named(journal: Journal, tmp_path: Path, statement: str) -> None:
    journal.append(ACCEPTED, SETTLE, purged("r"))
    change(tmp_path / "journal.sqlite", statement)
    with pytest.raises(FileCorrupt, match=r"journal event \d+: it, or one before it, is not what was written"):
        list(journal.events())


def test_the_seals_need_the_key(journal: Journal, url: sql.URL) -> None:
    journal.append(SETTLE)
    with pytest.raises(FileCorrupt, match="journal event 1"):
        list(open_journal(url, key=b"of another run").events())


def test_runs_that_share_a_database_do_not_mix(journal: Journal, url: sql.URL) -> None:
    other = begin(url, run="other", key=b"other key")
    hashes = {"r1": ["a"]}
    journal.accept(ACCEPTED, forget={"r1": {0: [1]}}, hashes=hashes)
    other.accept(ACCEPTED, forget={"r1": {0: [2]}}, hashes=hashes)
    other.append(SETTLE)
    assert [len(list(one.events())) for one in (journal, other)] == [1, 2]
    assert other.sample_ids(shard=0) == {"r1": {2}}
    purge(journal, "r1")
    assert not journal.sample_ids(shard=0)
    assert other.sample_ids(shard=0) == {"r1": {2}}
    journal.append(SETTLE)  # its epoch is its own
    other.close()


@pytest.mark.usefixtures("journal")
def test_a_database_that_does_not_know_the_run_is_refused(url: sql.URL) -> None:
    with pytest.raises(RunInvalid, match="knows no run stranger"):
        open_journal(url, run="stranger").take_over()


def test_readers_neither_write_nor_wait(journal: Journal, url: sql.URL, tmp_path: Path) -> None:
    journal.append(SETTLE)
    reader = open_journal(url, is_read_only=True)
    with journal.writing() as entry:
        entry.add(ACCEPTED)
        assert list(reader.events()) == [SETTLE]
    assert list(reader.events()) == [SETTLE, ACCEPTED]
    with pytest.raises(StorageFull, match="readonly"):
        reader.take_over()
    missing = open_journal(sql.make_url(f"sqlite:///{tmp_path / 'none.sqlite'}"), is_read_only=True)
    with pytest.raises(FileUnreadable, match=r"the journal cannot be read \(unable to open"):
        list(missing.events())
    assert not (tmp_path / "none.sqlite").exists()
    reader.close()


def test_ids_that_a_reader_kept_from_being_erased_are_erased_later(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.accept(ACCEPTED, forget={"r": {0: ["zoe@example.org"]}}, hashes={"r": ["z"]})
    monkeypatch.setattr("raymu.store.database._BUSY_MS", 50)
    reader = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM forget").fetchone()  # a snapshot that holds the log
    purge(journal, "r")
    assert files_with(tmp_path, "zoe@example.org")
    reader.execute("COMMIT")
    reader.close()
    journal.append(SETTLE)
    assert files_with(tmp_path, "zoe@example.org") == set()


@pytest.mark.parametrize("text", ["not a url", "nosuch://host/db", "mysql+nosuch://host/db", "oracle://host/db"])
def test_a_url_that_cannot_work_is_refused_at_once(text: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"cluster\.journal"):
        parse_url(text)
