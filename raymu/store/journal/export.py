"""Copies of a run's journal as it is at one moment, as a SQLite file, and journals made of such copies."""

from contextlib import closing
from pathlib import Path

import sqlalchemy as sql

from raymu.errors import RunInvalid
from raymu.store.files.retries import retried
from raymu.store.journal.database import Database
from raymu.store.journal.tables import EVENTS, RUNS, TABLES

_ROWS = 1000
"""Rows that are written together."""


def copy_journal(source: Database, out: Path, *, run: str, is_own_file: bool) -> None:
    """Copy the rows of a run into a new SQLite file, while a coordinator may write more of them.

    Args:
        source: The database with the journal, opened to read.
        out: The file to write.
        run: Id of the run.
        is_own_file: Whether the database is a SQLite file of this run alone. It is then copied page by page, by SQLite's
            backup interface.

    Raises StorageFailed, JournalBusy, FileCorrupt, FileUnreadable.
    """
    if is_own_file:
        source.back_up(out)
        return

    def attempt() -> None:
        with source.snapshot() as reading:
            existing = set(sql.inspect(reading).get_table_names())
            with copy.writing() as writing:  # of an attempt that fails, it keeps nothing
                for table in TABLES.sorted_tables:
                    if table.name in existing:
                        _copy_rows(reading, writing, table, run=run)

    with closing(_file(out)) as copy:
        copy.create(TABLES)
        retried(attempt, source.was_lost)
        copy.close(at_rest=True)


def require_absent(target: Database, *, run: str, name: str) -> None:
    """Raise RunInvalid if a database has a run already. name: what messages call the place of the restored run"""
    target.create(TABLES)
    with target.reading() as reading:
        if _position(reading, run) is not None:
            raise _has_run(name, run)


def restore_journal(copy: Path, target: Database, *, run: str, name: str, is_repeated: bool = False) -> None:
    """Add the rows of a run to a database that does not have the run.

    Args:
        copy: What `copy_journal` wrote.
        target: The database.
        run: Id of the run.
        name: What messages call the place of the restored run.
        is_repeated: Whether a restoration into this place was interrupted before: the same rows may be there then.

    Raises RunInvalid if the database has the run, StorageFailed, JournalBusy.
    """
    target.create(TABLES)
    attempts = 0

    def attempt() -> None:
        nonlocal attempts
        attempts += 1
        with source.snapshot() as reading, target.writing() as writing:
            existing_rows = _position(writing, run)
            if existing_rows is not None:
                if (is_repeated or attempts > 1) and existing_rows == _position(reading, run):
                    return  # they were committed together, before the interruption
                raise _has_run(name, run)
            existing = set(sql.inspect(reading).get_table_names())
            for table in TABLES.sorted_tables:
                if table.name in existing:
                    _copy_rows(reading, writing, table, run=run)

    with closing(_file(copy, is_read_only=True)) as source:
        retried(attempt, target.was_lost)


def _position(connection: sql.Connection, run: str) -> tuple[int, int, str] | None:
    """Return the term of a run, and number and seal of its last event; None if the database does not have it."""
    term = connection.execute(sql.select(RUNS.c.term).where(RUNS.c.run == run)).scalar_one_or_none()
    if term is None:
        return None
    of_run = sql.select(EVENTS.c.sequence, EVENTS.c.seal).where(EVENTS.c.run == run)
    last = connection.execute(of_run.order_by(EVENTS.c.sequence.desc()).limit(1)).one_or_none()
    return (term, 0, "") if last is None else (term, last.sequence, last.seal)


def _has_run(name: str, run: str) -> RunInvalid:
    return RunInvalid(name, f"has run {run} already; name another database with --journal")


def opened_copy(copy: Path) -> Database:
    """Open a copy to read it."""
    return _file(copy, is_read_only=True)


def _file(path: Path, *, is_read_only: bool = False) -> Database:
    return Database(sql.URL.create("sqlite", database=str(path)), is_read_only=is_read_only)


def _copy_rows(reading: sql.Connection, writing: sql.Connection, table: sql.Table, *, run: str) -> None:
    rows = reading.execute(sql.select(table).where(table.c.run == run))
    keys = [column.key for column in table.columns]  # a column may have another name in the database
    for part in rows.partitions(_ROWS):
        writing.execute(table.insert(), [dict(zip(keys, row, strict=True)) for row in part])
