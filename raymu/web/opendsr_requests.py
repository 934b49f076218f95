"""Requests of OpenDSR as they are kept: which requests of the runs each became, and the status that was called back last."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sql

from raymu.store.journal.database import Database
from raymu.web.opendsr_documents import API_VERSION
from raymu.web.outbox import Message, put

TARGET = "opendsr"
"""Whose the callbacks are in the outbox."""
IN_PROGRESS, COMPLETED = "in_progress", "completed"

_TABLES = sql.MetaData()
_REQUESTS = sql.Table(
    "dsr_requests",
    _TABLES,
    sql.Column("controller", sql.String, primary_key=True),
    sql.Column("subject_request_id", sql.String, primary_key=True),
    sql.Column("received_at", sql.String, nullable=False),
    sql.Column("expected_at", sql.String, nullable=False),
    sql.Column("callback_urls", sql.String, nullable=False),
    sql.Column("requests", sql.String, nullable=False),
    sql.Column("status", sql.String, nullable=False),
)
"""It has no identity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DsrRequest:
    """A request of a controller."""

    controller: str
    subject_request_id: str
    received_at: str
    """RFC 3339"""
    expected_at: str
    """RFC 3339"""
    callback_urls: Sequence[str]
    requests: Mapping[str, Sequence[str]]
    """Run -> its requests that delete the subject's samples. Without any, no run held the subject."""
    status: str

    @property
    def request_ids(self) -> list[str]:
        return [request_id for several in self.requests.values() for request_id in several]

    def document(self, **more: Any) -> dict[str, Any]:
        """Return what every answer and every callback says of it."""
        return {
            "controller_id": self.controller,
            "subject_request_id": self.subject_request_id,
            "expected_completion_time": self.expected_at,
            **more,
        }

    def callbacks(self) -> list[Message]:
        """Return the callbacks that tell its status."""
        return [
            Message(
                id=hashlib.sha256(
                    json.dumps([self.controller, self.subject_request_id, url, self.status]).encode()
                ).hexdigest(),
                target=TARGET,
                url=url,
                body=json.dumps(
                    self.document(status_callback_url=url, request_status=self.status, api_version=API_VERSION)
                ),
                made_at=time.time(),
            )
            for url in dict.fromkeys(self.callback_urls)
        ]

    def joined(self, again: "DsrRequest") -> "DsrRequest":
        """Return the request with what it became when it was sent again, perhaps with more identities."""
        requests = {
            run: tuple(dict.fromkeys((*self.requests.get(run, ()), *again.requests.get(run, ()))))
            for run in {**self.requests, **again.requests}
        }
        if {run: set(several) for run, several in requests.items()} == {
            run: set(several) for run, several in self.requests.items()
        }:
            return self
        return replace(self, requests=requests, status=again.status, callback_urls=again.callback_urls)


class DsrRequests:
    """The kept requests, in the database of the outbox, so that callbacks are put there in the same commit."""

    def __init__(self, database: Database) -> None:
        """Make the table, unless it is there. Raises StorageFailed."""
        self._database = database
        database.create(_TABLES)

    def keep(self, request: DsrRequest) -> DsrRequest:
        """Write a request with its callbacks, and return it. One that came before is joined with it."""
        with self._database.writing() as connection:
            row = connection.execute(sql.select(_REQUESTS).where(*_is(request))).one_or_none()
            kept = None if row is None else _request(row)
            joined = request if kept is None else kept.joined(request)
            if joined != kept:
                connection.execute(_REQUESTS.delete().where(*_is(request)))
                connection.execute(_REQUESTS.insert(), _row(joined))
                put(connection, joined.callbacks())
        return joined

    def change_status(self, request: DsrRequest, status: str) -> None:
        """Write the last status of a request, and put its callbacks."""
        changed = replace(request, status=status)
        with self._database.writing() as connection:
            connection.execute(
                _REQUESTS.update().where(*_is(request)).values(status=status, callback_urls="[]")
            )  # URLs may hold secrets
            put(connection, changed.callbacks())

    def find(self, controller: str, subject_request_id: str) -> DsrRequest | None:
        """Return a request of a controller; None if there is no such request."""
        where = _REQUESTS.c.controller == controller, _REQUESTS.c.subject_request_id == subject_request_id
        with self._database.reading() as connection:
            row = connection.execute(sql.select(_REQUESTS).where(*where)).one_or_none()
        return None if row is None else _request(row)

    def unfinished(self) -> list[DsrRequest]:
        """Return the requests that are not completed."""
        with self._database.reading() as connection:
            return [
                _request(row)
                for row in connection.execute(sql.select(_REQUESTS).where(_REQUESTS.c.status != COMPLETED))
            ]


def _is(request: DsrRequest) -> tuple[sql.ColumnElement[bool], ...]:
    return (
        _REQUESTS.c.controller == request.controller,
        _REQUESTS.c.subject_request_id == request.subject_request_id,
    )


def _row(request: DsrRequest) -> dict[str, str]:
    return {
        "controller": request.controller,
        "subject_request_id": request.subject_request_id,
        "received_at": request.received_at,
        "expected_at": request.expected_at,
        "callback_urls": json.dumps(list(request.callback_urls)),
        "requests": json.dumps({run: list(several) for run, several in request.requests.items()}),
        "status": request.status,
    }


def _request(row: sql.Row[Any]) -> DsrRequest:
    return DsrRequest(
        controller=row.controller,
        subject_request_id=row.subject_request_id,
        received_at=row.received_at,
        expected_at=row.expected_at,
        callback_urls=json.loads(row.callback_urls),
        requests=json.loads(row.requests),
        status=row.status,
    )
