"""Reading the files of a database leaves alone the locks that SQLite has on them in the same process."""

import gc
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import sqlalchemy as sql

from raymu.store.files.database_files import read_in_use
from raymu.store.files.run_files import RunFiles
from raymu.store.journal.database import Database
from raymu.store.journal.tables import RUNS, TABLES

VISIT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
connection.close()
"""


def opened(folder: Path) -> Database:
    """Return a database with a connection that stays open, and a row in its log."""
    database = Database(sql.URL.create("sqlite", database=str(folder / "journal.sqlite")))
    database.create(TABLES)
    with database.writing() as connection:
        connection.execute(RUNS.insert().values(run="a run", term=0))
    return database


def visit_from_another_process(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", VISIT, str(folder / "journal.sqlite")], check=True)


def test_the_log_stays_for_as_long_as_a_process_writes_to_it(tmp_path: Path) -> None:
    database, files = opened(tmp_path), RunFiles(str(tmp_path))
    for name in files.walk():
        files.read(name)
    visit_from_another_process(tmp_path)
    assert (tmp_path / "journal.sqlite-wal").exists()
    with database.writing() as connection:
        connection.execute(RUNS.update().values(term=1))
    database.close()
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as visitor:
        assert visitor.execute("SELECT epoch FROM runs").fetchone() == (1,)


def test_a_database_that_is_closed_or_forgotten_is_read_like_any_file(tmp_path: Path) -> None:
    database, path = opened(tmp_path), str(tmp_path / "journal.sqlite")
    assert read_in_use(path) is not None
    database.close()
    assert read_in_use(path) is None
    with database.reading():
        assert read_in_use(path) is not None
    del database
    gc.collect()
    assert read_in_use(path) is None
