"""Journals for the tests, on any database."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql

from raymu.core.events import RequestsPurged, RevocationsAccepted, SettleRequested
from raymu.store.journal.database import Database
from raymu.store.journal.journal import Journal

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
ACCEPTED = RevocationsAccepted(at=NOW, requests=(), generation=3)
SETTLE = SettleRequested(at=NOW, shards=(1,))


def purged(*request_ids: str) -> RequestsPurged:
    return RequestsPurged(at=NOW, request_ids=request_ids, files=(), rows=2)


def open_journal(url: sql.URL, *, run: str = "run", key: bytes = b"key", is_read_only: bool = False) -> Journal:
    return Journal(Database(url, is_read_only=is_read_only), run=run, key=key)


def begin(url: sql.URL, **named: Any) -> Journal:
    """Create a journal, and take it over."""
    journal = open_journal(url, **named)
    journal.create()
    journal.take_over()
    return journal


def purge(journal: Journal, *request_ids: str) -> None:
    with journal.writing() as entry:
        entry.purge(purged(*request_ids))
    journal.scrub_purged()


def execute(url: sql.URL, statement: str) -> list[Any]:
    """Run a statement without the journal. Returns the first column of its rows."""
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        result = connection.exec_driver_sql(statement)
        rows = list(result.scalars()) if result.returns_rows else []
    engine.dispose()
    return rows
