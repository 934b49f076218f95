"""A transaction in few round trips: what it reads first is asked for together, and what it writes is sent with the commit.

A statement that is sent alone costs a round trip, and a server may be far away. PostgreSQL takes many at once. What is
written goes in the pipeline of its protocol (postgresql.org/docs/current/libpq-pipeline-mode.html), with values apart from
the text, so that the server's log has no value of a statement that fails. What begins a transaction goes as one text: after
a pipeline, the server would not end a transaction that stays idle. SQLite is in this process, where nothing is gained.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import DBAPIError

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # it warns of errors that are raised anyway

Rows = list[tuple[Any, ...]]
Statement = sql.Select[Any] | sql.Insert | sql.Update | sql.Delete
_COMPILED = {"render_postcompile": True}


class BatchedWrites:
    """A transaction that keeps its writes until it is committed, if its database is on a server."""

    def __init__(self, connection: sql.Connection, *, is_server: bool) -> None:
        """Use a connection for one transaction.

        Args:
            connection: With an open transaction, or, to a server, without one that SQLAlchemy would begin or end.
            is_server: Whether the database is on a server.
        """
        self._connection, self._is_server = connection, is_server
        self._later: list[tuple[Statement, Sequence[Mapping[str, object]] | None]] = []
        self._is_open = self._is_over = False

    def together(self, *statements: Statement, ends: bool = False) -> list[Rows]:
        """Execute statements in one round trip, each of which sees what is committed when its turn comes.

        Args:
            statements: Without lists of values.
            ends: Whether the transaction is given up in the same round trip, because nothing is to be written.

        Returns:
            The rows of each.
        """
        if not self._is_server:
            results = [self._connection.execute(statement) for statement in statements]
            rows = [[tuple(row) for row in result] if result.returns_rows else [] for result in results]
            if ends:
                self._connection.rollback()
            return rows
        return self._read_together(statements, "ROLLBACK" if ends else None)

    def execute(self, statement: Statement) -> sql.CursorResult[Any]:
        """Execute a statement that reads, in a round trip of its own. What was written before it is not seen."""
        assert self._is_open or not self._is_server, "the transaction has begun"
        return self._connection.execute(statement)

    def later(self, statement: Statement, rows: Sequence[Mapping[str, object]] | None = None) -> None:
        """Execute a statement that writes, at once or with the commit, which fails if it does. rows: parameters for each"""
        if self._is_server:
            self._later.append((statement, rows))
        else:
            self._connection.execute(statement, rows)

    def send(self) -> None:
        """Send what is to be written, and the commit, and wait until all is done. SQLAlchemy commits where it began."""
        if self._is_server and not self._is_over and (self._is_open or self._later):
            queries = [self._query(statement, row) for statement, rows in self._later for row in (rows or [{}])]
            with self._driver("COMMIT") as driver, driver.pipeline():
                if not self._is_open:
                    driver.execute("BEGIN")
                    self._is_open = True
                for query in queries:
                    driver.execute(*query)
                driver.execute("COMMIT")

    def roll_back(self) -> None:
        """Undo what was done. A connection on which that fails is closed, which undoes it too."""
        if self._is_server and self._is_open:
            driver: Any = self._connection.connection.driver_connection
            try:
                driver.rollback()
            except self._connection.dialect.loaded_dbapi.Error as error:
                self._connection.invalidate(error)

    def _read_together(self, statements: Sequence[Statement], end: str | None) -> list[Rows]:
        """Send statements as one text, and read the rows of each."""
        with self._driver(end) as driver:
            cursor = import_module("psycopg").ClientCursor(driver)
            texts = [] if self._is_open else ["BEGIN"]
            before = len(texts)
            texts += [cursor.mogrify(*self._query(statement, None)) for statement in statements]
            cursor.execute("; ".join([*texts, end] if end else texts))
            self._is_open = True
            rows: list[Rows] = []
            for _text in texts:
                rows.append(cursor.fetchall() if cursor.description else [])
                cursor.nextset()
        return rows[before:]

    def _query(self, statement: Statement, row: Mapping[str, object] | None) -> tuple[str, Mapping[str, object]]:
        """Return the text and the values of a statement, as the driver takes them."""
        query = statement.compile(dialect=self._connection.dialect, compile_kwargs=_COMPILED)
        return query.string, query.construct_params(row)

    @contextmanager
    def _driver(self, end: str | None) -> Iterator[Any]:
        """Use the connection of the driver. Raises DBAPIError. end: the statement that ends the transaction, if one does"""
        assert not self._is_over, "a transaction ends once"
        dialect = self._connection.dialect
        driver: Any = self._connection.connection.driver_connection
        try:
            _require_alive(driver, dialect.loaded_dbapi.OperationalError)
            yield driver
        except dialect.loaded_dbapi.Error as error:
            is_lost = bool(driver.closed)
            if is_lost:
                self._is_open = False
                self._connection.invalidate(error)
            raise DBAPIError.instance(
                None, None, error, dialect.loaded_dbapi.Error, connection_invalidated=is_lost, dialect=dialect
            ) from error
        if end is not None:
            self._is_open, self._is_over = False, True


def _require_alive(driver: Any, error: type[Exception]) -> None:
    """Raise the reason for which the server has ended a connection: a pipeline would lose it."""
    reasons: list[str] = []

    def note(diagnostic: Any) -> None:
        if diagnostic.severity_nonlocalized in ("FATAL", "PANIC"):
            reasons.append(diagnostic.message_primary)

    driver.add_notice_handler(note)
    try:
        driver.pgconn.consume_input()
        driver.pgconn.is_busy()  # reads what has come
    finally:
        driver.remove_notice_handler(note)
    if reasons:
        driver.close()
        raise error(reasons[0])
