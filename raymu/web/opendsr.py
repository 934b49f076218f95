"""OpenDSR 2.0: a controller's erasures become requests of the runs, and their status is called back."""

import asyncio
import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raymu.errors import IdempotencyConflict, RaymuError, RequestInvalid, StorageFailed
from raymu.service.requests.revocation import SubmissionResult
from raymu.service.served import watch_of
from raymu.store.run import RunStore
from raymu.web.opendsr_documents import API_VERSION, DsrBody
from raymu.web.opendsr_requests import COMPLETED, IN_PROGRESS, TARGET, DsrRequest, DsrRequests
from raymu.web.opendsr_signature import DomainSignature
from raymu.web.outbox import Message, Outbox
from raymu.web.protocol_settings import OpenDsrConfig, located
from raymu.web.served_run import ServedRun
from raymu.web.submission import outcome_of, submit

logger = logging.getLogger(__name__)


class OpenDsr:
    """Speaks OpenDSR for the runs of a service. As a receiver, it is whoever callbacks are sent to."""

    target = TARGET

    def __init__(
        self, config: OpenDsrConfig, settings_file: Path, served_runs: Mapping[str, ServedRun], outbox: Outbox
    ) -> None:
        """Read certificate and key. Raises ConfigInvalid, StorageFailed."""
        self.config, self._served_runs = config, served_runs
        self.signature = DomainSignature(
            config.domain, located(config.certificate, settings_file), located(config.private_key, settings_file)
        )
        self._requests = DsrRequests(outbox.database)
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
            raise RequestInvalid("no run can take these identities; see what /v2/discovery names")
        request = DsrRequest(
            controller=controller,
            subject_request_id=body.subject_request_id,
            received_at=_time(datetime.now(UTC)),
            expected_at=_time(body.due_at),
            callback_urls=body.status_callback_urls,
            requests={name: several for name, several in requests.items() if several},
            status=IN_PROGRESS if any(requests.values()) else COMPLETED,
        )
        kept = await asyncio.to_thread(self._requests.keep, request)
        self._has_news = True
        return kept

    def find(self, controller: str, subject_request_id: str) -> DsrRequest | None:
        """Return a request of a controller, with its present status; None if there is no such request."""
        request = self._requests.find(controller, subject_request_id)
        if request is None:
            return None
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
        waiting = self._requests.unfinished()
        for request, status in zip(waiting, self._statuses(waiting), strict=True):
            if status != request.status:
                self._requests.change_status(request, status)
        self._marks = marks

    def _statuses(self, requests: Sequence[DsrRequest]) -> list[str]:
        """Return the present status of each request: completed once every run has issued its last receipt."""
        settled: set[tuple[str, str]] = set()
        for name, served in self._served_runs.items():
            ids = [each for request in requests for each in request.requests.get(name, ())]
            if ids:
                documents = served.run.signed_receipts(ids)
                settled |= {(name, each["request_id"]) for each in documents if each["settled_at"]}
        return [
            COMPLETED
            if all((name, each) in settled for name, several in request.requests.items() for each in several)
            else IN_PROGRESS
            for request in requests
        ]


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
