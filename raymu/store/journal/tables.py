"""The tables of the journal. One database may serve many runs: every row names its run."""

from typing import Any

import sqlalchemy as sql

from raymu.errors import FileCorrupt


class WholeNumber(sql.TypeDecorator[int]):
    """An integer that is one when it is read: SQLite keeps anything in a column of numbers."""

    impl = sql.Integer
    cache_ok = True

    def process_result_value(self, value: Any, dialect: sql.Dialect) -> int | None:  # noqa: ARG002
        """Return a stored number. Raises FileCorrupt if it is none."""
        if value is not None and not isinstance(value, int):
            raise FileCorrupt("the journal", f"not what was written: a number is stored as {type(value).__name__}")
        return value


TABLES = sql.MetaData()


def _run() -> sql.Column[str]:
    return sql.Column("run", sql.String, primary_key=True)


RUNS = sql.Table(
    "runs",
    TABLES,
    _run(),
    sql.Column("epoch", WholeNumber, key="term", nullable=False),
)
"""The term of the coordinator that may write; 0 before the first."""

EVENTS = sql.Table(
    "events",
    TABLES,
    _run(),
    sql.Column("sequence", WholeNumber, primary_key=True, autoincrement=False),
    sql.Column("kind", sql.String, nullable=False),
    sql.Column("payload", sql.Text, nullable=False),
    sql.Column("seal", sql.String, nullable=False),
)
"""The events, in order from 1. `seal` is a keyed hash over the event and the seal before it."""

FORGET = sql.Table(
    "forget",
    TABLES,
    _run(),
    sql.Column("request_id", sql.String, primary_key=True),
    sql.Column("shard", WholeNumber, primary_key=True, autoincrement=False),
    sql.Column("sample_ids", sql.Text, nullable=False),
    sql.Index("forget_by_shard", "run", "shard"),
)
"""Raw ids of accepted requests, encrypted, until they are purged."""

RECEIPTS = sql.Table(
    "ledger",
    TABLES,
    _run(),
    sql.Column("number", WholeNumber, primary_key=True, autoincrement=False),
    sql.Column("request_id", sql.String, nullable=False, index=True),
    sql.Column("document", sql.Text, nullable=False),
)
"""Receipts as they were issued, in order from 1. A request that was patched has a second one once it is exact."""

REVOKED = sql.Table(
    "revoked",
    TABLES,
    _run(),
    sql.Column("identity_hash", sql.String, primary_key=True),
    sql.Column("request_id", sql.String, nullable=False),
)
"""Pseudonyms of revoked ids and owners. They are never deleted, so that a second revocation of a sample is recognised."""

REQUESTS = sql.Table(
    "requests",
    TABLES,
    _run(),
    sql.Column("sequence", WholeNumber, primary_key=True, autoincrement=False),
    sql.Column("request_id", sql.String, primary_key=True),
    sql.Column("idempotency_key", sql.String, nullable=True),
    sql.Index("requests_by_key", "run", "idempotency_key"),
)
"""The event that accepted each request, and the pseudonym of its key: an index of the events, which have the content."""

SNAPSHOTS = sql.Table(
    "snapshots",
    TABLES,
    _run(),
    sql.Column("sequence", WholeNumber, primary_key=True, autoincrement=False),
    sql.Column("payload", sql.Text, nullable=False),
    sql.Column("seal", sql.String, nullable=False),
)
"""The state that follows from the events up to one of them: the newest one alone, so that opening need not read them."""

LATER_TABLES = (REQUESTS, SNAPSHOTS)
"""Tables that journals of version 0.2 lack. The next takeover adds them. All that they hold follows from the events."""
