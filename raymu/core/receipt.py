"""Receipts: what was done about a request, folded from the journal's events."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from raymu.core.events import (
    Event,
    GenerationPublished,
    RequestsPurged,
    RevocationsAccepted,
    ShardRepaired,
)
from raymu.core.records import Exactness, Remedy, RepairReport, RevocationRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardReceipt:
    """One shard's part. Passes, seconds: of the remedy, which other requests may have shared."""

    shard: int
    samples: int
    remedy: Remedy
    planned: Remedy
    reason: str
    exactness: Exactness
    forecast_passes: float
    forecast_seconds: float
    passes: float
    seconds: float
    shared_with: tuple[str, ...]
    """Other requests that the same remedy served."""
    forget_loss: float | None
    unseen_loss: float | None
    determinism: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """Times are None for what has not happened. It says what was done, never what a model knows."""

    request_id: str
    strategy: str
    boundary: str
    samples: int
    received_at: datetime
    due_at: datetime
    accepted_at: datetime
    generation_before: int
    rewound_at: datetime | None = None
    generation_rewound: int | None = None
    repaired_at: datetime | None = None
    published_at: datetime | None = None
    generation_after: int | None = None
    purged_at: datetime | None = None
    purged_files: int = 0
    settled_at: datetime | None = None
    exactness: Exactness | None = None
    """Of the published result: approximate until settled where any shard was patched."""
    shards: tuple[ShardReceipt, ...] = field(default=())


class ReceiptBook:
    """The receipts of all requests, kept up to date by the events. One that was seen already changes nothing."""

    def __init__(self) -> None:
        self._receipts: dict[str, Receipt] = {}
        self._requests: dict[str, RevocationRequest] = {}

    def handle(self, event: Event) -> None:
        match event:
            case RevocationsAccepted(requests=requests):
                for request in requests:
                    self._requests[request.request_id] = request
                    self._receipts[request.request_id] = _accepted(event, request)
            case ShardRepaired(report=report):
                for request_id in report.request_ids:
                    self._update(request_id, repaired_at=event.at)
                    self._add(request_id, report)
            case GenerationPublished():
                self._published(event)
            case RequestsPurged(request_ids=request_ids):
                for request_id in request_ids:
                    self._update(request_id, purged_at=event.at, purged_files=event.files)
            case _:
                pass

    def receipt(self, request_id: str) -> Receipt:
        return self._receipts[request_id]

    def receipts(self) -> tuple[Receipt, ...]:
        """In the order of acceptance."""
        return tuple(self._receipts.values())

    def _published(self, event: GenerationPublished) -> None:
        for request_id in event.rewound:
            self._update(request_id, rewound_at=event.at, generation_rewound=event.number)
        for request_id in event.repaired:
            self._update(request_id, published_at=event.at, generation_after=event.number)
            if self._receipts[request_id].exactness is Exactness.EXACT:
                self._update(request_id, settled_at=event.at)
        for request_id in event.settled:
            self._update(request_id, settled_at=event.at, exactness=Exactness.EXACT)

    def _add(self, request_id: str, report: RepairReport) -> None:
        receipt = self._receipts[request_id]
        forget = {part.shard: part.samples for part in self._requests[request_id].forget}
        shard = ShardReceipt(
            shard=report.shard,
            samples=forget[report.shard],
            remedy=report.remedy,
            planned=report.planned.remedy,
            reason=report.reason,
            exactness=report.exactness,
            forecast_passes=report.planned.passes,
            forecast_seconds=report.planned.seconds,
            passes=report.passes,
            seconds=report.seconds,
            shared_with=tuple(other for other in report.request_ids if other != request_id),
            forget_loss=report.forget_loss,
            unseen_loss=report.unseen_loss,
            determinism=report.determinism,
        )
        others = [part for part in receipt.shards if part.shard != report.shard]
        shards = tuple(sorted((*others, shard), key=lambda part: part.shard))
        is_exact = all(part.exactness is Exactness.EXACT for part in shards)
        self._update(request_id, shards=shards, exactness=Exactness.EXACT if is_exact else Exactness.APPROXIMATE)

    def _update(self, request_id: str, **changes: object) -> None:
        self._receipts[request_id] = replace(self._receipts[request_id], **changes)  # type: ignore[arg-type]


def _accepted(event: RevocationsAccepted, request: RevocationRequest) -> Receipt:
    return Receipt(
        request_id=request.request_id,
        strategy=request.strategy,
        boundary=str(request.boundary),
        samples=request.samples,
        received_at=request.received_at,
        due_at=request.due_at,
        accepted_at=event.at,
        generation_before=event.generation,
    )
