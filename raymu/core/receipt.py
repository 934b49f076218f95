"""Receipts: what was done about a request, folded from the journal's events."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from raymu.core.commands import RepairOutcome, RepairReport
from raymu.core.events import Event, GenerationPublished, RequestsPurged, RevocationsAccepted, ShardRepaired
from raymu.core.records import Exactness, Remedy
from raymu.core.requests import RevocationRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardReceipt(RepairOutcome):
    """What was done to one shard for a request. Receipts with the same `command_id` share one repair and its cost."""

    shard: int
    samples: int
    """Samples of the shard that the request took out."""
    planned: Remedy
    exactness: Exactness
    forecast_passes: float
    forecast_seconds: float
    requests: int
    """Number of requests that the repair served."""
    settled_by: str | None = None
    """Id of the later retraining that made a patched shard exact."""
    earlier_classes: tuple[str, ...] = ()
    """Other determinism classes of stages that the state builds on; with any it is inconclusive."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """Times are None for what has not happened. It says what was done, never what a model knows.

    hashes: keyed, of the ids and the owner; manifest_*: SHA-256 of the files of the generations before and after
    """

    request_id: str
    hashes: tuple[str, ...]
    strategy: str
    boundary: str
    samples: int
    received_at: datetime
    due_at: datetime
    due_met: bool | None = None
    """Whether every shard was retrained when it was due; None while that is open."""
    accepted_at: datetime
    generation_before: int
    manifest_before: str
    rewound_at: datetime | None = None
    generation_rewound: int | None = None
    repaired_at: datetime | None = None
    published_at: datetime | None = None
    generation_after: int | None = None
    manifest_after: str | None = None
    purged_at: datetime | None = None
    purged_files: int = 0
    """Superseded files that were destroyed together with this request's."""
    purged_rows: int = 0
    """The run's own copies of revoked samples that were destroyed with them."""
    settled_at: datetime | None = None
    exactness: Exactness | None = None
    """Of the published result, that of its least exact shard: approximate until settled where one was patched."""
    shards: tuple[ShardReceipt, ...] = field(default=())

    def at(self, now: datetime) -> "Receipt":
        """The receipt as it stands at a time: whether it was exact in time."""
        exact_at = self.settled_at
        return replace(self, due_met=exact_at <= self.due_at if exact_at else None if now <= self.due_at else False)


class Receipts:
    """The receipts of all requests, kept up to date by the events. One that was seen already changes nothing."""

    def __init__(self) -> None:
        self._receipts: dict[str, Receipt] = {}
        self._requests: dict[str, RevocationRequest] = {}
        self._manifests: dict[int, str] = {}
        self._owing: dict[int, set[str]] = {}  # by shard, the requests that it has only patched
        self._upgraded: dict[str, None] = {}  # settled, and no receipt issued since

    def handle(self, event: Event) -> None:
        match event:
            case RevocationsAccepted(requests=requests):
                for request in requests:
                    if request.request_id not in self._receipts:
                        self._requests[request.request_id] = request
                        self._receipts[request.request_id] = self._accepted(event, request)
            case ShardRepaired(report=report):
                self._repaired(report, event.at)
            case GenerationPublished():
                self._published(event)
            case RequestsPurged():
                for receipt in self.completed_by(event):
                    self._receipts[receipt.request_id] = receipt
                    self._upgraded.pop(receipt.request_id, None)
            case _:
                pass

    def completed_by(self, event: RequestsPurged) -> list[Receipt]:
        """The receipts that this event completes: of the requests it purges, and of those settled since the last one."""
        purged = {
            request_id: replace(
                self._receipts[request_id], purged_at=event.at, purged_files=len(event.files), purged_rows=event.rows
            )
            for request_id in event.request_ids
        }
        settled = {one: self._receipts[one] for one in self._upgraded if self._receipts[one].purged_at}
        return [receipt.at(event.at) for receipt in (settled | purged).values()]

    def receipt(self, request_id: str) -> Receipt:
        return self._receipts[request_id]

    def receipts(self) -> tuple[Receipt, ...]:
        """In the order of acceptance."""
        return tuple(self._receipts.values())

    def _published(self, event: GenerationPublished) -> None:
        self._manifests[event.number] = event.manifest_sha256
        for request_id in event.rewound:
            self._update(request_id, rewound_at=event.at, generation_rewound=event.number)
        for request_id in event.repaired:
            is_settled = self._receipts[request_id].exactness is not Exactness.APPROXIMATE
            self._update(
                request_id,
                published_at=event.at,
                generation_after=event.number,
                manifest_after=event.manifest_sha256,
                settled_at=event.at if is_settled else None,
            )
        for request_id in event.settled:
            retrained = (part.exactness for part in self._receipts[request_id].shards)
            is_open = Exactness.INCONCLUSIVE in retrained
            exactness = Exactness.INCONCLUSIVE if is_open else Exactness.EXACT
            self._update(request_id, settled_at=event.at, exactness=exactness)
            self._upgraded[request_id] = None

    def _repaired(self, report: RepairReport, at: datetime) -> None:
        for request_id in report.request_ids:
            self._add(request_id, report, at)
        owing = self._owing.setdefault(report.shard, set())
        if report.exactness is Exactness.APPROXIMATE:
            owing.update(report.request_ids)
            return
        for request_id in owing:
            shards = (_settled(part, report) for part in self._receipts[request_id].shards)
            self._update(request_id, shards=tuple(shards))
        owing.clear()

    def _add(self, request_id: str, report: RepairReport, at: datetime) -> None:
        receipt = self._receipts[request_id]
        forget = {part.shard: part.samples for part in self._requests[request_id].forget}
        shard = ShardReceipt(
            **report.facts(),
            shard=report.shard,
            samples=forget[report.shard],
            planned=report.planned.remedy,
            exactness=report.exactness,
            forecast_passes=report.planned.passes,
            forecast_seconds=report.planned.seconds,
            requests=len(report.request_ids),
            earlier_classes=report.lineage.earlier_classes if report.remedy is Remedy.RETRAIN else (),
        )
        others = [part for part in receipt.shards if part.shard != report.shard]
        shards = tuple(sorted((*others, shard), key=lambda part: part.shard))
        exactness = max((part.exactness for part in shards), key=list(Exactness).index)
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
            manifest_before=self._manifests.get(event.generation, ""),
        )


def _settled(part: ShardReceipt, report: RepairReport) -> ShardReceipt:
    if part.shard != report.shard:
        return part
    return replace(
        part,
        exactness=report.exactness,
        settled_by=report.command_id,
        determinism=report.determinism,
        earlier_classes=report.lineage.earlier_classes,
    )
