"""SQLite as the journal's database: its settings, and the residue in its files."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sql

from raymu.core.records import SampleId
from raymu.errors import FileCorrupt, FileUnreadable, StorageFailed
from raymu.store.journal.database import Database
from raymu.store.journal.journal import Journal
from tests.support.journals import ACCEPTED, SETTLE, begin, execute, open_journal, purge

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def files_with(folder: Path, text: str) -> set[str]:
    return {path.name for path in folder.iterdir() if text.encode() in path.read_bytes()}


def kept_of(url: sql.URL, request_id: str) -> str:
    """Return the ids of a request, as stored in the database."""
    [kept] = execute(url, f"SELECT sample_ids FROM forget WHERE request_id = '{request_id}'")
    return str(kept)[:200]  # the rest may lie on other pages


@pytest.mark.parametrize("count", [1, 3000])
def test_purged_ids_leave_no_residue_in_the_files_of_an_open_journal(
    journal: Journal, url: sql.URL, tmp_path: Path, count: int
) -> None:
    forget: dict[str, dict[int, list[SampleId]]] = {
        name: {0: [f"{name}-{number}@example.org" for number in range(count)]} for name in ("anna", "zoe")
    }
    journal.accept(ACCEPTED, forget=forget, hashes={"anna": ["a"], "zoe": ["z"]})
    anna, zoe = (kept_of(url, name) for name in ("anna", "zoe"))
    assert files_with(tmp_path, zoe)
    purge(journal, "zoe")
    assert files_with(tmp_path, zoe) == set()
    assert files_with(tmp_path, anna) == {"journal.sqlite"}


def test_residue_of_a_crash_is_gone_after_the_next_takeover(journal: Journal, url: sql.URL, tmp_path: Path) -> None:
    journal.accept(ACCEPTED, forget={"r": {0: ["zoe@example.org"]}}, hashes={"r": ["z"]})
    kept = kept_of(url, "r")
    killed = sqlite3.connect(tmp_path / "journal.sqlite")  # purges, and is killed before it truncates its log
    killed.execute("PRAGMA secure_delete=ON")
    killed.execute("DELETE FROM forget")
    killed.commit()
    assert files_with(tmp_path, kept) == {"journal.sqlite-wal"}
    successor = open_journal(url)
    successor.take_over()
    assert files_with(tmp_path, kept) == set()
    successor.close()
    killed.close()


def test_residue_that_a_reader_protects_is_scrubbed_later(
    url: sql.URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymu.store.journal.dialects.SQLITE_BUSY_MS", 50)
    journal = begin(url)
    journal.accept(ACCEPTED, forget={"r": {0: ["zoe@example.org"]}}, hashes={"r": ["z"]})
    kept = kept_of(url, "r")
    reader = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM forget").fetchone()  # a snapshot that keeps the log
    purge(journal, "r")
    assert files_with(tmp_path, kept)
    reader.execute("COMMIT")
    reader.close()
    journal.append(SETTLE)
    assert files_with(tmp_path, kept) == set()
    journal.close()


def test_commits_survive_a_power_cut_and_deleted_rows_are_overwritten(journal: Journal) -> None:
    def pragma(name: str) -> object:
        with journal._database.reading() as connection:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()

    full, on, seconds = 2, 1, 10_000
    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == full
    assert pragma("secure_delete") == on
    assert pragma("busy_timeout") == seconds


def test_a_database_that_cannot_be_opened_is_a_storage_failure(url: sql.URL, tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="the journal: the storage failed"):
        begin(url.set(database=str(tmp_path / "no folder" / "journal.sqlite")))
    (tmp_path / "letter.csv").write_text("not a database, though as long as one may be\n" * 100)
    with pytest.raises(StorageFailed, match="file is not a database"):
        begin(url.set(database=str(tmp_path / "letter.csv")))


def test_a_reader_does_not_create_a_journal(url: sql.URL, tmp_path: Path) -> None:
    missing = open_journal(url, is_read_only=True)
    with pytest.raises(FileUnreadable, match="the journal cannot be read"):
        list(missing.events())
    missing.close()
    assert not (tmp_path / "journal.sqlite").exists()


def test_a_change_that_a_kill_left_half_made_is_taken_back_by_a_reader(url: sql.URL, tmp_path: Path) -> None:
    journal = begin(url)
    journal.append(SETTLE)
    journal.close(at_rest=True)
    killed = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    for statement in ("PRAGMA cache_size=1", "BEGIN", "DELETE FROM events", "CREATE TABLE t (x)"):
        killed.execute(statement)
    killed.executemany("INSERT INTO t VALUES (?)", [("x" * 5000,)] * 50)  # more than the cache holds
    left = tmp_path / "left"
    left.mkdir()
    for name in ("journal.sqlite", "journal.sqlite-journal"):
        (left / name).write_bytes((tmp_path / name).read_bytes())
    killed.close()
    with closing(open_journal(sql.make_url(f"sqlite:///{left / 'journal.sqlite'}"), is_read_only=True)) as reader:
        assert list(reader.events()) == [SETTLE]
    assert [path.name for path in left.iterdir()] == ["journal.sqlite"]


def test_a_reader_cannot_write(journal: Journal, url: sql.URL) -> None:
    journal.append(SETTLE)
    with (
        closing(Database(url, is_read_only=True)) as database,
        database.reading() as connection,
        pytest.raises(sql.exc.OperationalError, match="readonly"),
    ):
        connection.exec_driver_sql("DELETE FROM events")


@pytest.mark.parametrize("statement", ["UPDATE runs SET epoch = 'one'", "UPDATE events SET sequence = 'last'"])
def test_text_in_the_place_of_a_number_is_damage(url: sql.URL, statement: str) -> None:
    journal = begin(url)
    journal.append(SETTLE)
    journal.close()
    execute(url, statement)
    with closing(open_journal(url, is_read_only=True)) as reader, pytest.raises(FileCorrupt, match="stored as str"):
        assert (reader.term(), reader.head().sequence) == (1, 1)
