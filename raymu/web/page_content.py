"""The content of the service's pages: what is late and due next, lists of requests, and the page of a run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from raymu.core.deadlines import Deadline
from raymu.core.receipt import Receipt
from raymu.core.verdict import LastVerdict
from raymu.errors import RequestInvalid
from raymu.report.load import read_run
from raymu.report.receipt_document import ReceiptDocument
from raymu.report.request_index import STATES, IndexedRequests, RequestIndex
from raymu.report.requests import LATE, DeadlineStatus
from raymu.report.view import view_of
from raymu.service.audit.document import AuditDocument, read_audit
from raymu.store.run import RunStore

PER_PAGE = 50
_LISTED = 20
"""Deadlines in each table of the overview."""
_LATEST = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What a list of requests is narrowed to; empty for all."""

    text: str = ""
    """A part of the request's id."""
    state: str = ""
    run: str = ""

    def __bool__(self) -> bool:
        return bool(self.text or self.state or self.run)

    def href(self, page: int) -> str:
        """Return the address of a page of the list."""
        parts = {"text": self.text, "state": self.state, "run": self.run, "page": str(page)}
        return f"/requests?{urlencode({name: value for name, value in parts.items() if value})}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLine:
    """A run on the overview: counts of requests, unless the name says otherwise."""

    name: str
    generation: int
    requests: int
    exact: int
    open: int
    late: int
    missed: int
    debt: int
    """Shards in debt."""
    verified: LastVerdict | None
    """How `raymu verify` ended last; None if nobody has verified the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DueLine:
    """A request of the overview that is not exact yet."""

    run: str
    deadline: Deadline
    deadline_status: DeadlineStatus

    @property
    def is_late(self) -> bool:
        """Whether the request requires an action."""
        return self.deadline_status in LATE


class PageContent:
    """The runs of a service, as its pages show them."""

    def __init__(self, stores: Mapping[str, RunStore], audits: Sequence[Path] = ()) -> None:
        """Follow some runs.

        Args:
            stores: Name -> run.
            audits: Results of audits, as JSON files. Each is shown with the run that it is of.
        """
        self._stores, self._audits = stores, audits
        self._indexes = {name: RequestIndex(store) for name, store in stores.items()}

    def overview(self, now: datetime) -> dict[str, Any]:
        """Return what is late, what is due next, and the runs. Raises RaymuError."""
        read = self._read(now)
        lines = [_run_line(name, requests, self._verified(name)) for name, requests in read.items()]
        due = [
            DueLine(
                run=name, deadline=deadline, deadline_status=requests.deadline_status(receipts[deadline.request_id])
            )
            for name, requests in read.items()
            for receipts in [{receipt.request_id: receipt for receipt in requests.receipts}]
            for deadline in requests.status.deadlines
        ]
        due.sort(key=lambda line: line.deadline.due_at)
        late, later = [line for line in due if line.is_late], [line for line in due if not line.is_late]
        latest = nlargest(
            _LATEST,
            ((receipt.received_at, name, receipt) for name, requests in read.items() for receipt in requests.receipts),
            key=lambda entry: entry[0],
        )
        return {
            "now": now,
            "has_runs": len(read) > 1,
            "runs": lines,
            "late": late[:_LISTED],
            "late_total": len(late),
            "missed": sum(line.missed for line in lines),
            "next": later[:_LISTED],
            "next_total": len(later),
            "latest": [read[name].view(receipt) for _, name, receipt in latest],
            "total": sum(line.requests for line in lines),
            "search": Search(),
            "states": tuple(STATES),
        }

    def request_list(self, search: Search, page: int, now: datetime) -> dict[str, Any]:
        """Return one page of the list of requests, the newest first. Raises RaymuError."""
        read = {name: requests for name, requests in self._read(now).items() if search.run in ("", name)}
        matching = [
            (receipt.received_at, name, receipt)
            for name, requests in read.items()
            for receipt in requests.matching(state=search.state, text=search.text)
        ]
        matching.sort(key=lambda entry: entry[0], reverse=True)
        pages = max(1, -(-len(matching) // PER_PAGE))
        page = min(max(page, 1), pages)
        shown = matching[(page - 1) * PER_PAGE : page * PER_PAGE]
        return {
            "total": len(matching),
            "is_narrowed": bool(search),
            "requests": [read[name].view(receipt) for _, name, receipt in shown],
            "page": page,
            "pages": pages,
            "page_href": search.href,
            "search": search,
            "states": tuple(STATES),
            "problem": "",
        }

    def request(self, request_id: str, now: datetime) -> ReceiptDocument | None:
        """Return one request with its receipt; None if no run has it. Raises RaymuError."""
        for name, requests in self._read(now).items():
            receipt = _with_id(requests.receipts, request_id)
            if receipt is not None:
                index = self._indexes[name]
                return ReceiptDocument(
                    run=name,
                    run_id=self._stores[name].manifest.run_id,
                    now=now,
                    request=requests.view(receipt, index.issued(request_id)),
                    key_fingerprint=index.key_fingerprint,
                )
        return None

    def run_context(self, name: str, now: datetime) -> dict[str, Any]:
        """Return the content of the page of a run, which is its report. Raises RaymuError."""
        store = self._stores[name]
        documents = list(self._audits_of(store))
        with self._indexes[name].journal() as journal:
            view = view_of(
                read_run(
                    store,
                    now=now,
                    audit=next((document for document in documents if document.verdict), None),
                    snapshots=next((document for document in documents if not document.verdict), None),
                    journal=journal,
                )
            )
        return {"view": view, "key_fingerprint": view.key_fingerprint}

    def _audits_of(self, store: RunStore) -> Iterator[AuditDocument]:
        for path in self._audits:
            with suppress(RequestInvalid):  # it is of another run
                yield read_audit(store, path)

    def _verified(self, name: str) -> LastVerdict | None:
        store = self._stores[name]
        return store.verdicts.read("verify", run=store.manifest.run_id)

    def _read(self, now: datetime) -> dict[str, IndexedRequests]:
        return {name: index.read(now) for name, index in self._indexes.items()}


def _run_line(name: str, requests: IndexedRequests, verified: LastVerdict | None) -> RunLine:
    statuses = [requests.deadline_status(receipt) for receipt in requests.receipts]
    exact = sum(receipt.is_exact for receipt in requests.receipts)
    return RunLine(
        name=name,
        generation=requests.status.generation,
        requests=len(requests.receipts),
        exact=exact,
        open=len(requests.receipts) - exact,
        late=sum(status in LATE for status in statuses),
        missed=sum(status is DeadlineStatus.MISSED for status in statuses),
        debt=requests.status.debt.shards,
        verified=verified,
    )


def _with_id(receipts: Sequence[Receipt], request_id: str) -> Receipt | None:
    return next((receipt for receipt in reversed(receipts) if receipt.request_id == request_id), None)
