"""The outbox of the service: what is still to be sent, in a SQLite file that outlives the process."""

import fcntl
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from raymu.errors import ConfigInvalid, StorageFailed
from raymu.store.journal.database import Database
from raymu.store.journal.event_chain import ChainHead

TABLES = sql.MetaData()
MESSAGES = sql.Table(
    "messages",
    TABLES,
    sql.Column("id", sql.String, primary_key=True),
    sql.Column("target", sql.String, primary_key=True),
    sql.Column("url", sql.String, nullable=False),
    sql.Column("body", sql.String, nullable=False),
    sql.Column("made_at", sql.Float, nullable=False),
    sql.Column("next_at", sql.Float, nullable=False),
    sql.Column("attempts", sql.Integer, nullable=False),
)
"""What is still to be sent. A row is deleted once it was taken, or given up."""
_HOST = "substr(url, 1, 7 + instr(substr(url || '/', 9), '/'))"
"""The beginning of a URL, up to its path; of http:// the count begins within the name, which has a letter at least.

SQLite uses the indexes only where a query has the very text of their expression, so that it has no parameters.
"""
_host = sql.literal_column(_HOST, sql.String)
_INDEXES = (
    sql.Index("messages_by_host", MESSAGES.c.target, _host, MESSAGES.c.next_at),
    sql.Index("messages_in_turn", MESSAGES.c.target, _host, MESSAGES.c.attempts, MESSAGES.c.made_at, MESSAGES.c.id),
)
_EARLIER_INDEX = sql.Index("messages_by_target")
"""An index of earlier versions, which no query uses any more."""
_HOSTS_DUE = sql.text(f"""
    WITH RECURSIVE hosts(host) AS (
        SELECT min({_HOST}) FROM messages WHERE target = :target
        UNION ALL
        SELECT (SELECT min({_HOST}) FROM messages WHERE target = :target AND {_HOST} > hosts.host)
        FROM hosts WHERE hosts.host IS NOT NULL
    )
    SELECT host FROM hosts WHERE EXISTS (
        SELECT 1 FROM messages WHERE target = :target AND {_HOST} = hosts.host AND next_at <= :now
    )
""")
"""Goes from host to host, and looks at the first message of each: it takes as long however many wait for one of them."""
CURSORS = sql.Table(
    "cursors",
    TABLES,
    sql.Column("run", sql.String, primary_key=True),
    sql.Column("sequence", sql.Integer, nullable=False),
    sql.Column("seal", sql.String, nullable=False),
    sql.Column("receipts", sql.Integer, nullable=False),
)
"""How far the journal of each run was read."""
OVERDUE = sql.Table(
    "overdue",
    TABLES,
    sql.Column("run", sql.String, primary_key=True),
    sql.Column("request_id", sql.String, primary_key=True),
)
"""Open requests that were said to be overdue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """Something to send."""

    id: str
    """The same for each attempt, so that the receiver knows a message that came before."""
    target: str
    """Whose it is: the name of a webhook, or of a protocol."""
    url: str
    body: str
    made_at: float
    """Seconds since 1970."""
    attempts: int = 0
    """How often it was sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """How far a journal was read."""

    head: ChainHead
    """The last event."""
    receipts: int
    """Number of the last receipt."""


class Outbox:
    """The outbox. Threads share it; no other process uses the file meanwhile."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            ConfigInvalid: Another service has it open.
            StorageFailed: It cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            path.touch()
            path.chmod(0o600)
        except OSError as error:
            raise StorageFailed(str(path), error.strerror or str(error)) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise ConfigInvalid(f"{path}: another service sends from it; give each a state of its own") from error
        self.database = Database(sql.URL.create("sqlite", database=str(path)), name="the outbox")
        """The database, for tables that are changed together with what is to be sent."""
        self.database.create(TABLES)
        with self.database.writing() as connection:  # an earlier version made the table without them
            connection.execute(sql.schema.DropIndex(_EARLIER_INDEX, if_exists=True))
            for index in _INDEXES:
                connection.execute(sql.schema.CreateIndex(index, if_not_exists=True))

    def cursor(self, run: str) -> Cursor | None:
        """Return how far the journal of a run was read; None if it never was."""
        with self.database.reading() as connection:
            row = connection.execute(sql.select(CURSORS).where(CURSORS.c.run == run)).one_or_none()
        if row is None:
            return None
        return Cursor(head=ChainHead(sequence=row.sequence, seal=row.seal), receipts=row.receipts)

    def overdue(self, run: str) -> frozenset[str]:
        """Return the open requests of a run that were said to be overdue."""
        with self.database.reading() as connection:
            query = sql.select(OVERDUE.c.request_id).where(OVERDUE.c.run == run)
            return frozenset(connection.execute(query).scalars())

    def advance(
        self, run: str, cursor: Cursor, messages: Iterable[Message], *, overdue: Iterable[str] | None = None
    ) -> None:
        """Write, in one commit, what follows from a journal and how far it was read.

        Args:
            run: Id of the run.
            cursor: How far.
            messages: What is to be sent. A message that is there already stays as it is.
            overdue: All open requests that are overdue; None leaves the list as it is.
        """
        with self.database.writing() as connection:
            put(connection, messages)
            connection.execute(CURSORS.delete().where(CURSORS.c.run == run))
            head = cursor.head
            row = {"run": run, "sequence": head.sequence, "seal": head.seal, "receipts": cursor.receipts}
            connection.execute(CURSORS.insert(), row)
            if overdue is not None:
                connection.execute(OVERDUE.delete().where(OVERDUE.c.run == run))
                if rows := [{"run": run, "request_id": each} for each in overdue]:
                    connection.execute(OVERDUE.insert(), rows)

    def hosts_due(self, target: str, now: float) -> Sequence[str]:
        """Return the hosts that something of a target is to be sent to now: scheme, name and port."""
        with self.database.reading() as connection:
            return list(connection.execute(_HOSTS_DUE, {"target": target, "now": now}).scalars())

    def due(self, target: str, now: float, *, host: str, most: int) -> Sequence[Message]:
        """Return the messages of a target that are to be sent to a host now: those that were sent least often first."""
        is_due = sql.literal_column("+next_at") <= now  # the sign keeps SQLite from sorting all that are due
        query = sql.select(MESSAGES).where(*_to(target, host), is_due)
        order = MESSAGES.c.attempts, MESSAGES.c.made_at, MESSAGES.c.id
        with self.database.reading() as connection:
            rows = connection.execute(query.order_by(*order).limit(most)).all()
        return [_message(row) for row in rows]

    def older(self, target: str, made_before: float, *, host: str) -> Sequence[Message]:
        """Return the messages of a target to a host that were made before a time."""
        query = sql.select(MESSAGES).where(*_to(target, host), MESSAGES.c.made_at < made_before)
        with self.database.reading() as connection:
            return [_message(row) for row in connection.execute(query)]

    def remove(self, message: Message) -> None:
        """Forget a message that was taken, or given up."""
        with self.database.writing() as connection:
            connection.execute(MESSAGES.delete().where(*_is(message)))

    def postpone(self, message: Message, until: float) -> None:
        """Send a message again at a time, after an attempt failed."""
        with self.database.writing() as connection:
            connection.execute(
                MESSAGES.update().where(*_is(message)).values(next_at=until, attempts=message.attempts + 1)
            )

    def waiting(self) -> int:
        """Return how many messages are still to be sent."""
        with self.database.reading() as connection:
            return int(connection.execute(sql.select(sql.func.count()).select_from(MESSAGES)).scalar_one())

    def close(self) -> None:
        """Close the file, and leave it to others."""
        self.database.close()
        os.close(self._lock)


def put(connection: sql.Connection, messages: Iterable[Message]) -> None:
    """Add messages to send at once, except those that are there already."""
    rows = [
        {
            "id": message.id,
            "target": message.target,
            "url": message.url,
            "body": message.body,
            "made_at": message.made_at,
            "next_at": message.made_at,
            "attempts": 0,
        }
        for message in messages
    ]
    if rows:
        connection.execute(MESSAGES.insert().prefix_with("OR IGNORE"), rows)


def _is(message: Message) -> tuple[sql.ColumnElement[bool], ...]:
    return MESSAGES.c.id == message.id, MESSAGES.c.target == message.target


def _to(target: str, host: str) -> tuple[sql.ColumnElement[bool], ...]:
    return MESSAGES.c.target == target, _host == host


def _message(row: sql.Row[Any]) -> Message:
    return Message(id=row.id, target=row.target, url=row.url, body=row.body, made_at=row.made_at, attempts=row.attempts)
