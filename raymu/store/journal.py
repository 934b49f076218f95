"""The durable record of requests and decisions, in a SQL database. Acknowledged means committed."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from raymu.core.events import Event, RequestsPurged, RevocationsAccepted
from raymu.core.records import SampleId
from raymu.errors import CoordinatorSuperseded, StorageFull
from raymu.store.codec import from_json, to_json

_TABLES = sql.MetaData()
_EVENTS = sql.Table(
    "events",
    _TABLES,
    sql.Column("sequence", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("kind", sql.String, nullable=False),
    sql.Column("payload", sql.Text, nullable=False),
)
_COORDINATORS = sql.Table(
    "coordinators",
    _TABLES,
    sql.Column("epoch", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("opened_at", sql.String, nullable=False),
)
_LATEST_EPOCH = sql.select(sql.func.coalesce(sql.func.max(_COORDINATORS.c.epoch), 0))
# Takes the write lock (SQLite: of the database; PostgreSQL: of these rows), so that no take-over slips in before the commit.
_LOCK = _COORDINATORS.update().values(opened_at=_COORDINATORS.c.opened_at)
# Raw ids of accepted requests, until they are purged.
_FORGET = sql.Table(
    "forget",
    _TABLES,
    sql.Column("request_id", sql.String, primary_key=True),
    sql.Column("shard", sql.Integer, primary_key=True),
    sql.Column("sample_id", sql.String, primary_key=True),
)
# Keyed hashes of revoked ids and owners, for life: they answer a request that was made before.
_REVOKED = sql.Table(
    "revoked",
    _TABLES,
    sql.Column("identity_hash", sql.String, primary_key=True),
    sql.Column("request_id", sql.String, nullable=False),
)


class Journal:
    """Events in the order in which they happened. A coordinator writes under its epoch; a lower epoch is refused."""

    def __init__(self, url: str | sql.URL) -> None:
        """url: a SQLAlchemy database URL. Raises StorageFull where the database cannot be opened."""
        self._engine = sql.create_engine(url)
        self._epoch = 0
        if self._engine.dialect.name == "sqlite":
            sql.event.listen(self._engine, "connect", _harden_sqlite)
        with self._storage():
            _TABLES.create_all(self._engine)

    def take_over(self) -> int:
        """Become the run's coordinator: from here on, writes of earlier ones are refused. returns: the epoch"""
        with self._storage(), self._engine.begin() as connection:
            connection.execute(_LOCK)
            connection.execute(_COORDINATORS.insert().values(opened_at=datetime.now(UTC).isoformat()))
            self._epoch = connection.execute(_LATEST_EPOCH).scalar_one()
        self._empty_sqlite_log()  # a crash may have come between a purge and this
        return self._epoch

    def append(self, *events: Event) -> None:
        """Commit events together. Raises CoordinatorSuperseded, StorageFull."""
        with self._writing() as connection:
            _insert(connection, events)

    def accept(
        self,
        event: RevocationsAccepted,
        *,
        forget: Mapping[str, Mapping[int, Sequence[SampleId]]],
        hashes: Mapping[str, Sequence[str]],
    ) -> None:
        """Commit accepted requests in one transaction, with what they name.

        forget: request -> shard -> sample ids; hashes: request -> keyed hashes of its ids and owner
        """
        raw = [
            {"request_id": request_id, "shard": shard, "sample_id": json.dumps(sample_id)}
            for request_id, by_shard in forget.items()
            for shard, sample_ids in by_shard.items()
            for sample_id in sample_ids
        ]
        revoked = [
            {"identity_hash": identity_hash, "request_id": request_id}
            for request_id, identity_hashes in hashes.items()
            for identity_hash in identity_hashes
        ]
        with self._writing() as connection:
            _insert(connection, [event])
            connection.execute(_FORGET.insert(), raw)
            connection.execute(_REVOKED.insert(), revoked)

    def purge(self, event: RequestsPurged) -> None:
        """Commit that requests are purged, and drop their raw ids."""
        with self._writing() as connection:
            _insert(connection, [event])
            connection.execute(_FORGET.delete().where(_FORGET.c.request_id.in_(event.request_ids)))
        self._empty_sqlite_log()

    def require_current(self) -> None:
        """Raises CoordinatorSuperseded where a later coordinator has taken over."""
        with self._writing():
            pass

    def events(self) -> Iterator[Event]:
        with self._storage(), self._engine.connect() as connection:
            rows = connection.execute(sql.select(_EVENTS.c.sequence, _EVENTS.c.payload).order_by(_EVENTS.c.sequence))
            for sequence, payload in rows:
                yield from_json(Event, payload, source=f"journal event {sequence}")

    def sample_ids(self, *, shard: int) -> dict[str, frozenset[SampleId]]:
        """Raw ids of the requests that are not purged. returns: request -> its ids in this shard"""
        query = sql.select(_FORGET.c.request_id, _FORGET.c.sample_id).where(_FORGET.c.shard == shard)
        found: dict[str, set[SampleId]] = {}
        with self._storage(), self._engine.connect() as connection:
            for request_id, sample_id in connection.execute(query):
                found.setdefault(request_id, set()).add(json.loads(sample_id))
        return {request_id: frozenset(sample_ids) for request_id, sample_ids in found.items()}

    def revoked_by(self, identity_hashes: Sequence[str]) -> dict[str, str]:
        """Which of these are revoked. returns: keyed hash -> request"""
        found: dict[str, str] = {}
        with self._storage(), self._engine.connect() as connection:
            for start in range(0, len(identity_hashes), 500):  # databases bound the parameters of a query
                asked = identity_hashes[start : start + 500]
                query = sql.select(_REVOKED).where(_REVOKED.c.identity_hash.in_(asked))
                found.update({row.identity_hash: row.request_id for row in connection.execute(query)})
        return found

    def close(self) -> None:
        self._engine.dispose()

    def _empty_sqlite_log(self) -> None:
        """SQLite's write-ahead log keeps old pages, with the raw ids in them, until it is cut off."""
        if self._engine.dialect.name == "sqlite":
            with self._storage(), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _writing(self) -> Iterator[sql.Connection]:
        with self._storage(), self._engine.begin() as connection:
            connection.execute(_LOCK)
            current = connection.execute(_LATEST_EPOCH).scalar_one()
            if current != self._epoch:
                raise CoordinatorSuperseded(self._epoch, current)
            yield connection

    @contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            problem = str(getattr(error, "orig", None) or error)
            raise StorageFull("the journal", " ".join(problem.split())) from error


def _insert(connection: sql.Connection, events: Iterable[Event]) -> None:
    rows = [{"kind": event.kind, "payload": to_json(event).decode()} for event in events]
    connection.execute(_EVENTS.insert(), rows)


def _harden_sqlite(connection: Any, _record: Any) -> None:
    """Commits survive a power cut; deleted ids leave no trace in the file."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {pragma}")
