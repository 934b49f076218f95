"""OpenDSR 2.0: a controller's erasures become requests of the runs, and their status is called back."""

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from raymu.errors import IdempotencyConflict, RaymuError, RequestInvalid, StorageFailed
from raymu.service.requests.revocation import SubmissionResult
from raymu.service.served import watch_of
from raymu.store.run import RunStore
from raymu.web.opendsr_documents import API_VERSION, DsrBody
from raymu.web.opendsr_signature import DomainSignature
from raymu.web.outbox import Message, Outbox, put
from raymu.web.protocol_settings import OpenDsrConfig, located
from raymu.web.served_run import ServedRun
from raymu.web.submission import outcome_of, submit

TARGET = "opendsr"
TABLES = sql.MetaData()
REQUESTS = sql.Table(
    "dsr_requests",
    TABLES,
    sql.Column("controller", sql.String, primary_key=True),
    sql.Column("subject_request_id", sql.String, primary_key=True),
    sql.Column("received_at", sql.String, nullable=False),
    sql.Column("expected_at", sql.String, nullable=False),
    sql.Column("callback_urls", sql.String, nullable=False),
    sql.Column("requests", sql.String, nullable=False),
    sql.Column("status", sql.String, nullable=False),
)
"""Requests of controllers: which requests of the runs they became, and the status that was called back last. No identity."""
_IN_PROGRESS, _COMPLETED = "in_progress", "completed"

logger = logging.getLogger(__name__)


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


class OpenDsr:
    """Speaks OpenDSR for the runs of a service. As a receiver, it is whoever callbacks are sent to."""

    target = TARGET

    def __init__(
        self, config: OpenDsrConfig, settings_file: Path, served_runs: Mapping[str, ServedRun], outbox: Outbox
    ) -> None:
        """Read certificate and key. Raises ConfigInvalid, StorageFailed."""
        self.config, self._served_runs, self._outbox = config, served_runs, outbox
        self.signature = DomainSignature(
            config.domain, located(config.certificate, settings_file), located(config.private_key, settings_file)
        )
        outbox.database.create(TABLES)
        self._watches = [
            watch_of(RunStore(served.run.location, trust=served.run.trust)) for served in served_runs.values()
        ]
        self._marks: list[Hashable | None] = []
        self.is_private_allowed = config.private_addresses
        self.retry_s = config.retry_hours * 3600
        self._has_news = True

    def url(self, message: Message) -> str:
        return message.url

    def headers(self, message: Message, _now: float) -> Mapping[str, str]:
        return self.signature.headers(message.body.encode())

    def discovery(self) -> dict[str, Any]:
        """Return what the service supports."""
        return {
            "api_version": API_VERSION,
            "supported_identities": [
                {"identity_type": identity.type, "identity_format": identity.format}
                for identity in self.config.identities
            ],
            "supported_subject_request_types": ["erasure"],
            "processor_certificate": f"https://{self.config.domain}/v2/certificate",
        }

    async def accept(self, body: DsrBody, controller: str) -> DsrRequest:
        """Have the runs accept an erasure. It is committed, and will be carried out, once this returns.

        Raises:
            RequestInvalid: It cannot be honoured.
            StorageFailed: A run could not accept it now. The same request may be sent again.
        """
        requests: dict[str, list[str]] = {}
        is_understood = False
        for revocation in body.revocations(self.config.identities, controller=controller):
            try:
                results = await submit(list(self._served_runs.values()), revocation)
            except IdempotencyConflict as error:
                raise RequestInvalid("subject_request_id belongs to another request") from error
            for name, result in zip(self._served_runs, results, strict=True):
                outcome = outcome_of(name, result)
                if outcome.status == "failed":
                    raise StorageFailed(name, "it could not accept the request; send it again")
                if isinstance(result, SubmissionResult) and isinstance(result.refusal, IdempotencyConflict):
                    raise RequestInvalid("subject_request_id belongs to another request")
                is_understood |= outcome.status != "refused"
                named = requests.setdefault(name, [])
                named += [
                    each for each in (outcome.request_id, *outcome.earlier_requests) if each and each not in named
                ]
        if not is_understood:
            raise RequestInvalid("no run takes identities of this form; see what /v2/discovery names")
        request = DsrRequest(
            controller=controller,
            subject_request_id=body.subject_request_id,
            received_at=_time(datetime.now(UTC)),
            expected_at=_time(body.due_at),
            callback_urls=body.status_callback_urls,
            requests={name: several for name, several in requests.items() if several},
            status=_IN_PROGRESS if any(requests.values()) else _COMPLETED,
        )
        kept = await asyncio.to_thread(self._keep, request)
        self._has_news = True
        return kept

    def find(self, controller: str, subject_request_id: str) -> DsrRequest | None:
        """Return a request of a controller, with its present status; None if there is no such request."""
        query = sql.select(REQUESTS).where(*_is(controller, subject_request_id))
        with self._outbox.database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        request = _request(row)
        [status] = self._statuses([request])
        return replace(request, status=status)

    def look(self) -> None:
        """Put callbacks into the outbox for requests whose status has changed. Says on the log what fails."""
        try:
            self._look()
        except RaymuError as problem:
            logger.warning("the status of requests of OpenDSR could not be read: %s", type(problem).__name__)

    def close(self) -> None:
        for watch in self._watches:
            watch.close()

    def _look(self) -> None:
        marks = [watch.mark() for watch in self._watches]
        if not self._has_news and None not in marks and marks == self._marks:
            return
        self._has_news = False
        query = sql.select(REQUESTS).where(REQUESTS.c.status != _COMPLETED)
        with self._outbox.database.reading() as connection:
            waiting = [_request(row) for row in connection.execute(query)]
        for request, status in zip(waiting, self._statuses(waiting), strict=True):
            if status != request.status:
                changed = replace(request, status=status)
                with self._outbox.database.writing() as connection:
                    where = _is(request.controller, request.subject_request_id)
                    connection.execute(REQUESTS.update().where(*where).values(status=status, callback_urls="[]"))
                    put(connection, changed.callbacks())
        self._marks = marks

    def _keep(self, request: DsrRequest) -> DsrRequest:
        """Write a request with its first callbacks, unless it came before, and return it as it came first."""
        row = {
            "controller": request.controller,
            "subject_request_id": request.subject_request_id,
            "received_at": request.received_at,
            "expected_at": request.expected_at,
            "callback_urls": json.dumps(list(request.callback_urls)),
            "requests": json.dumps(request.requests),
            "status": request.status,
        }
        where = _is(request.controller, request.subject_request_id)
        with self._outbox.database.writing() as connection:
            kept = connection.execute(sql.select(REQUESTS).where(*where)).one_or_none()
            if kept is not None:
                return _request(kept)
            connection.execute(REQUESTS.insert(), row)
            put(connection, request.callbacks())
        return request

    def _statuses(self, requests: Sequence[DsrRequest]) -> list[str]:
        """Return the present status of each request: completed once every run has issued its last receipt."""
        settled: set[tuple[str, str]] = set()
        for name, served in self._served_runs.items():
            ids = [each for request in requests for each in request.requests.get(name, ())]
            if ids:
                documents = served.run.signed_receipts(ids)
                settled |= {(name, each["request_id"]) for each in documents if each["settled_at"]}
        return [
            _COMPLETED
            if all((name, each) in settled for name, several in request.requests.items() for each in several)
            else _IN_PROGRESS
            for request in requests
        ]


def _is(controller: str, subject_request_id: str) -> tuple[sql.ColumnElement[bool], ...]:
    return REQUESTS.c.controller == controller, REQUESTS.c.subject_request_id == subject_request_id


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


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
