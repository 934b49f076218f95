"""The mark of a journal: it changes with every write, whoever wrote, and with nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sql

from raymu.store.journal.journal import Journal
from raymu.store.journal.watch import JournalWatch
from tests.support.journals import begin, purged

WRITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement)
connection.close()
"""
SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def write_elsewhere(file: Path, *statements: str) -> None:
    """Execute statements on a SQLite file in another process."""
    subprocess.run([sys.executable, "-c", WRITE, str(file), *statements], check=True)


def test_the_mark_stays_until_something_is_written(url: sql.URL, journal: Journal) -> None:
    watch = JournalWatch(url, "run")
    journal.append(purged("a"))
    before = watch.mark()
    assert before is not None
    assert watch.mark() == before
    journal.append(purged("b"))
    after = watch.mark()
    assert after not in (before, None)
    assert watch.mark() == after
    watch.close()
    assert watch.mark() not in (before, after)  # of another connection
    watch.close()


@SQLITE
def test_writes_of_another_process_change_the_mark_in_every_way_of_journaling(url: sql.URL) -> None:
    begin(url).close(at_rest=True)
    file, watch = Path(str(url.database)), JournalWatch(url, "run")
    seen = [watch.mark()]
    write_elsewhere(file, "update runs set epoch = 5")
    seen.append(watch.mark())
    journal = begin(url)  # it keeps the write-ahead log
    for statements in (
        ["update runs set epoch = 6"],
        ["update runs set epoch = 7", "pragma wal_checkpoint(TRUNCATE)"],
        ["pragma wal_checkpoint(RESTART)", "update runs set epoch = 8"],
        ["update runs set epoch = 7", "update runs set epoch = 8"],
    ):
        write_elsewhere(file, *statements)
        seen.append(watch.mark())
    assert None not in seen
    assert len(set(seen)) == len(seen)
    watch.close()
    journal.close()


@SQLITE
@pytest.mark.parametrize("way", ["moved to its place", "written over it"])
def test_a_restored_backup_changes_the_mark(url: sql.URL, way: str, tmp_path: Path) -> None:
    begin(url).close(at_rest=True)
    file, backup = Path(str(url.database)), tmp_path / "backup"
    shutil.copy2(file, backup)
    watch = JournalWatch(url, "run")
    write_elsewhere(file, "update runs set epoch = 5")
    before = watch.mark()
    if way == "written over it":
        file.write_bytes(backup.read_bytes())
    else:
        backup.replace(file)
    restored = watch.mark()
    assert restored not in (before, None)
    write_elsewhere(file, "update runs set epoch = 6")
    assert watch.mark() not in (before, restored, None)
    watch.close()


@SQLITE
def test_a_coordinator_closes_its_journal_while_it_is_watched(url: sql.URL, journal: Journal) -> None:
    watch = JournalWatch(url, "run")
    before = watch.mark()
    journal.append(purged("a"))
    journal.close(at_rest=True)
    assert watch.mark() != before
    again = begin(url)
    again.append(purged("b"))
    assert again.head().sequence == 2
    again.close()
    watch.close()


@SQLITE
def test_a_journal_that_is_not_there_has_no_mark(url: sql.URL, tmp_path: Path) -> None:
    watch = JournalWatch(url, "run")
    assert watch.mark() is None
    begin(url).close(at_rest=True)
    assert watch.mark() is not None
    Path(str(url.database)).rename(tmp_path / "elsewhere")
    assert watch.mark() is None


def test_a_forked_child_has_a_connection_of_its_own(url: sql.URL, journal: Journal) -> None:
    watch = JournalWatch(url, "run")
    journal.append(purged("a"))
    before = watch.mark()
    child = os.fork()
    if child == 0:
        mark = watch.mark()
        os._exit(0 if mark not in (before, None) and watch.mark() == mark else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert watch.mark() == before
    watch.close()
