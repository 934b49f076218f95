"""The receipts of a run's requests, derived from the journal's events."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, Self

from raymu.core.commands import RepairReport
from raymu.core.events import (
    Event,
    GenerationPublished,
    RequestsPurged,
    RevocationsAccepted,
    SettleRequested,
    ShardRepaired,
)
from raymu.core.receipt import Receipt, ShardReceipt
from raymu.core.records import Exactness, Remedy
from raymu.core.remedies import REMEDIES
from raymu.core.requests import RevocationRequest
from raymu.core.tallies import DoneTally, ResidualTally

_EXACTNESS_ORDER = {exactness: place for place, exactness in enumerate(Exactness)}


class IssuedReceipts(Protocol):
    """The receipts that were issued, looked up where they are stored."""

    def find(self, request_ids: Collection[str]) -> Mapping[str, Receipt]:
        """Return the last receipt of each of these requests: request -> receipt."""

    def inconclusive(self, shard: int) -> Iterable[Receipt]:
        """Return the last receipts that name a shard whose repair was inconclusive."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptsState:
    """What `Receipts` know, as a record to save. It grows with open requests, and not with those that are done."""

    accepted: int
    """Number of all requests."""
    open: tuple[Receipt, ...]
    """The receipts of requests that are not done, in the order of acceptance."""
    generation: int
    """Number of the last generation; 0 before the first."""
    manifest: str
    """SHA-256 of its file, in hex."""
    patched: Mapping[int, tuple[str, ...]]
    """Shard -> requests that it has only patched."""
    restarted: tuple[int, ...]
    """Inconclusive shards that are trained from their first stage."""
    reconciled: tuple[str, ...]
    """Requests of such shards, until these are published."""
    upgraded: tuple[str, ...]
    """Settled requests whose receipt is not issued again yet."""
    done: DoneTally
    residuals: ResidualTally


class Receipts:
    """The receipts of all requests, kept up to date by the events. An event that was seen already changes nothing.

    A request is done once it is settled and purged, and its last receipt is issued. Receipts of requests that are done stay
    in memory only if there is nowhere to look them up.
    """

    def __init__(self, issued: IssuedReceipts | None = None) -> None:
        """Begin without requests.

        Args:
            issued: Where receipts of requests that are done are looked up. None keeps all of them here.
        """
        self.issued = issued
        """Where receipts of requests that are done are looked up."""
        self.residuals = ResidualTally()
        """Sums over all repairs for requests."""
        self.done = DoneTally()
        """The requests that are done."""
        self.accepted = 0
        """Number of all requests."""
        self._receipts: dict[str, Receipt] = {}
        self._requests: dict[str, RevocationRequest] = {}  # until they are purged
        self._done: set[str] = set()  # of the receipts in memory
        self._recent: dict[str, Receipt] = {}  # done by the last purge, for whoever observes it
        self._generation, self._manifest = 0, ""  # the last one, and the SHA-256 of its file
        self._patched: dict[int, set[str]] = {}  # shard -> requests that it has only patched
        self._restarted: set[int] = set()  # inconclusive shards that are trained from their first stage
        self._reconciled: dict[str, None] = {}  # requests of such shards, until these are published
        self._upgraded: dict[str, None] = {}  # settled requests whose receipt is not issued again yet
        self._watchers: list[dict[str, None]] = []

    @classmethod
    def restored(cls, state: ReceiptsState, requests: Mapping[str, RevocationRequest], issued: IssuedReceipts) -> Self:
        """Go on from a saved state.

        Args:
            state: The state.
            requests: The requests that are not purged.
            issued: Where receipts of requests that are done are looked up.
        """
        book = cls(issued)
        book.accepted, book.done, book.residuals = state.accepted, state.done, state.residuals
        book._receipts = {receipt.request_id: receipt for receipt in state.open}
        book._requests = dict(requests)
        book._generation, book._manifest = state.generation, state.manifest
        book._patched = {shard: set(request_ids) for shard, request_ids in state.patched.items()}
        book._restarted = set(state.restarted)
        book._reconciled, book._upgraded = dict.fromkeys(state.reconciled), dict.fromkeys(state.upgraded)
        return book

    def state(self) -> ReceiptsState:
        """Return what is known of requests that are not done, and the tallies of the others."""
        return ReceiptsState(
            accepted=self.accepted,
            open=self.open,
            generation=self._generation,
            manifest=self._manifest,
            patched={shard: tuple(sorted(patched)) for shard, patched in sorted(self._patched.items()) if patched},
            restarted=tuple(sorted(self._restarted)),
            reconciled=tuple(self._reconciled),
            upgraded=tuple(self._upgraded),
            done=self.done,
            residuals=self.residuals,
        )

    def handle(self, event: Event) -> None:
        """Apply an event to the receipts."""
        match event:
            case RevocationsAccepted(requests=requests):
                for request in requests:
                    if request.request_id not in self._receipts:
                        self.accepted += 1
                        self._requests[request.request_id] = request
                        self._receipts[request.request_id] = self._accepted(event, request)
            case SettleRequested(anew=anew):
                self._restarted.update(anew)
            case ShardRepaired(report=report):
                self._apply_report(report, event.at)
                self._reconcile(report)
            case GenerationPublished():
                self._apply_generation(event)
            case RequestsPurged():
                self._apply_purge(event)
            case _:
                pass

    def completed_by(self, event: RequestsPurged) -> list[Receipt]:
        """Return the receipts that a purge completes: of the purged requests, and of those settled since the last one."""
        purged = {
            request_id: replace(
                self._receipts[request_id], purged_at=event.at, purged_files=len(event.files), purged_rows=event.rows
            )
            for request_id in event.request_ids
            if request_id in self._receipts  # otherwise it is done, and the event was seen already
        }
        upgraded = (self._receipts[request_id] for request_id in self._upgraded)
        settled = {receipt.request_id: receipt for receipt in upgraded if receipt.purged_at}
        return [receipt.at(event.at) for receipt in (settled | purged).values()]

    def receipt(self, request_id: str) -> Receipt:
        """Return the receipt of an accepted request. Raises what looking one up raises."""
        return self.of([request_id])[request_id]

    def of(self, request_ids: Collection[str]) -> dict[str, Receipt]:
        """Return the receipts of some accepted requests: request -> receipt. Raises what looking them up raises."""
        known = self.find(request_ids)
        return {request_id: known[request_id] for request_id in request_ids}

    def find(self, request_ids: Collection[str]) -> dict[str, Receipt]:
        """Return the receipts of those requests that were accepted. Raises what looking them up raises."""
        known = {each: self._receipts.get(each) or self._recent.get(each) for each in request_ids}
        absent = [request_id for request_id, receipt in known.items() if receipt is None]
        issued = self.issued.find(absent) if absent and self.issued else {}
        return {request_id: receipt for request_id, receipt in known.items() if receipt is not None} | dict(issued)

    def is_purged(self, request_id: str) -> bool:
        """Return whether an accepted request is purged. Nothing is looked up."""
        receipt = self._receipts.get(request_id)
        return receipt is None or receipt.purged_at is not None

    def is_settled(self, request_id: str) -> bool:
        """Return whether an accepted request is settled. Nothing is looked up."""
        receipt = self._receipts.get(request_id)
        return receipt is None or receipt.settled_at is not None

    @contextmanager
    def watching_settled(self) -> Iterator[dict[str, None]]:
        """Collect the ids of the requests that become settled, or exact, within the context."""
        settled: dict[str, None] = {}
        self._watchers.append(settled)
        try:
            yield settled
        finally:
            self._watchers = [watcher for watcher in self._watchers if watcher is not settled]

    @property
    def open(self) -> tuple[Receipt, ...]:
        """The receipts of requests that are not done, in the order of acceptance."""
        return tuple(receipt for request_id, receipt in self._receipts.items() if request_id not in self._done)

    @property
    def open_count(self) -> int:
        """Number of the requests that are not done."""
        return len(self._receipts) - len(self._done)

    def receipts(self) -> tuple[Receipt, ...]:
        """Return all receipts, in the order in which the requests were accepted. They must all be in memory."""
        assert self.issued is None, "receipts of requests that are done are in the journal"
        return tuple(self._receipts.values())

    def _apply_purge(self, event: RequestsPurged) -> None:
        done: list[Receipt] = []
        for receipt in self.completed_by(event):
            self._receipts[receipt.request_id] = receipt
            self._upgraded.pop(receipt.request_id, None)
            self._requests.pop(receipt.request_id, None)
            if receipt.settled_at and receipt.request_id not in self._done:
                done.append(receipt)
        if self.issued is None:
            self._done.update(receipt.request_id for receipt in done)
        elif done:
            self._recent = {receipt.request_id: self._receipts.pop(receipt.request_id) for receipt in done}
        self.done = self.done.changed(added=[_tallied(receipt) for receipt in done]).at(event.at)

    def _apply_generation(self, event: GenerationPublished) -> None:
        self._generation, self._manifest = event.number, event.manifest_sha256
        for request_id in self._in_memory(event.rewound):
            self._update(request_id, rewound_at=event.at, generation_rewound=event.number)
        for request_id in self._in_memory(event.repaired):
            is_settled = self._receipts[request_id].exactness is not Exactness.APPROXIMATE
            self._update(
                request_id,
                published_at=event.at,
                generation_after=event.number,
                manifest_after=event.manifest_sha256,
                settled_at=event.at if is_settled else None,
            )
            if is_settled:
                self._note_settled(request_id)
        for request_id in self._in_memory(event.settled):
            is_conclusive = all(
                part.exactness is not Exactness.INCONCLUSIVE for part in self._receipts[request_id].shards
            )
            self._settle(request_id, event.at, Exactness.EXACT if is_conclusive else Exactness.INCONCLUSIVE)
        for request_id in self._reconciled:
            if all(part.exactness is Exactness.EXACT for part in self._receipts[request_id].shards):
                self._settle(request_id, event.at, Exactness.EXACT)
        self._reconciled.clear()

    def _settle(self, request_id: str, at: datetime, exactness: Exactness) -> None:
        self._update(request_id, settled_at=at, exactness=exactness)
        self._upgraded[request_id] = None
        self._note_settled(request_id)

    def _note_settled(self, request_id: str) -> None:
        for watcher in self._watchers:
            watcher[request_id] = None

    def _in_memory(self, request_ids: Iterable[str]) -> list[str]:
        """Return those of the requests that are not done: for the others the event was seen already."""
        return [request_id for request_id in request_ids if request_id in self._receipts]

    def _apply_report(self, report: RepairReport, at: datetime) -> None:
        patched = self._patched.setdefault(report.shard, set())
        self._measure(report, patched)
        for request_id in self._in_memory(report.request_ids):
            self._add_shard(request_id, report, at)
        if report.exactness is Exactness.APPROXIMATE:
            patched.update(report.request_ids)
            return
        for request_id in patched:
            parts = self._receipts[request_id].shards
            shards = tuple(part.settled(report) if part.shard == report.shard else part for part in parts)
            self._update(request_id, shards=shards)
        del self._patched[report.shard]

    def _measure(self, report: RepairReport, patched: Iterable[str]) -> None:
        """Add a repair to the sums, once.

        Args:
            report: The repair.
            patched: The requests that the shard has only patched before it.
        """
        of_shard = {request_id: self._part(request_id, report.shard) for request_id in {*patched, *report.request_ids}}
        is_new = bool(report.request_ids) and all(each in self._requests for each in report.request_ids)
        parts = [of_shard[request_id] for request_id in report.request_ids]
        is_new &= all(part is None or part.command_id != report.command_id for part in parts)
        patches = {part.command_id for each in patched if (part := of_shard[each])}
        if report.exactness is not Exactness.APPROXIMATE and patches:
            self.residuals = self.residuals.after_settlement(len(patches), report.change)
        elif is_new and REMEDIES[report.remedy].is_exact:
            self.residuals = self.residuals.after_retraining(report.change)
        if is_new and not REMEDIES[report.remedy].is_exact:
            self.residuals = self.residuals.after_patch(report.change)

    def _part(self, request_id: str, shard: int) -> ShardReceipt | None:
        receipt = self._receipts.get(request_id)
        return next((part for part in receipt.shards if part.shard == shard), None) if receipt else None

    def _reconcile(self, report: RepairReport) -> None:
        """Enter the exact retraining of an inconclusive shard into the receipts of all requests that it had repaired."""
        if report.shard not in self._restarted:
            return
        self._restarted.discard(report.shard)
        if report.exactness is not Exactness.EXACT:
            return
        issued = self.issued.inconclusive(report.shard) if self.issued else ()
        done = {receipt.request_id: receipt for receipt in issued if receipt.request_id not in self._receipts}
        for request_id, receipt in [*done.items(), *self._receipts.items()]:
            shards = tuple(
                part.settled(report)
                if part.shard == report.shard and part.exactness is Exactness.INCONCLUSIVE
                else part
                for part in receipt.shards
            )
            if shards != receipt.shards:
                if request_id in done or request_id in self._done:
                    self.done = self.done.changed(removed=[_tallied(receipt)])
                    self._done.discard(request_id)
                self._receipts[request_id] = replace(receipt, shards=shards)
                self._reconciled[request_id] = None

    def _add_shard(self, request_id: str, report: RepairReport, at: datetime) -> None:
        if request_id not in self._requests:  # purged: the event was seen already
            return
        part = self._requests[request_id].part(report.shard)
        shard = ShardReceipt(
            **report.facts(),
            shard=report.shard,
            samples=part.samples if part else 0,
            planned=report.planned.remedy,
            exactness=report.exactness,
            forecast_passes=report.planned.passes,
            forecast_seconds=report.planned.seconds,
            requests=len(report.request_ids),
            earlier_classes=report.lineage.earlier_classes if report.remedy is Remedy.RETRAIN else (),
            inexact=report.lineage.inexact if report.remedy is Remedy.RETRAIN else (),
        )
        others = self._receipts[request_id].shards
        position = bisect_left(others, report.shard, key=lambda other: other.shard)
        shards = (*others[:position], shard, *(other for other in others[position:] if other.shard != report.shard))
        exactness = max({each.exactness for each in shards}, key=_EXACTNESS_ORDER.__getitem__)
        self._update(request_id, repaired_at=at, shards=shards, exactness=exactness)

    def _update(self, request_id: str, **changes: object) -> None:
        self._receipts[request_id] = replace(self._receipts[request_id], **changes)  # type: ignore[arg-type]

    def _accepted(self, event: RevocationsAccepted, request: RevocationRequest) -> Receipt:
        return Receipt(
            request_id=request.request_id,
            hashes=request.hashes,
            strategy=request.strategy,
            boundary=str(request.boundary),
            samples=request.samples,
            received_at=request.received_at,
            due_at=request.due_at,
            accepted_at=event.at,
            generation_before=event.generation,
            manifest_before=self._manifest if event.generation == self._generation else "",
        )


def _tallied(receipt: Receipt) -> tuple[bool, bool, datetime]:
    """Return what the tally of requests that are done counts of one."""
    is_late = receipt.settled_at is not None and receipt.settled_at > receipt.due_at
    return receipt.exactness is not Exactness.INCONCLUSIVE, is_late, receipt.due_at
