"""The receipt of a request: the record of the work for it."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from raymu.core.commands import RepairOutcome, RepairReport
from raymu.core.prediction_change import PredictionChange
from raymu.core.records import Exactness, Remedy
from raymu.shown_record import ShownRecord


class RequestStage(StrEnum):
    """The stage that a request has reached."""

    ACCEPTED = "accepted"
    REWOUND = "rewound"
    """Its shards serve states that never saw the samples."""
    PUBLISHED = "published"
    """Every shard is repaired for it, and a generation has the result. With `unlearning.publish`, predictions come from the
    repaired states once their group is visible; until then from states that never saw the samples."""
    PURGED = "purged"
    """The states that saw the samples are destroyed; some shard is only patched, and left to settle."""
    SETTLED = "settled"
    """Every shard is retrained for it, and the states that saw the samples are destroyed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardReceipt(RepairOutcome):
    """The repair of one shard for a request. Receipts with the same `command_id` share one repair and its cost."""

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
    inexact: tuple[str, ...] = ()
    """Why no training from scratch is known to give the state's bits; with any it is inconclusive."""
    residual: PredictionChange | None = None
    """How far the patched state was from the retrained one that settled it; None until then. That retraining may have
    forgotten samples of other requests too. The request's own samples were destroyed before."""

    def settled(self, report: RepairReport) -> "ShardReceipt":
        """Return the receipt of the patched shard after it is retrained."""
        return replace(
            self,
            exactness=report.exactness,
            settled_by=report.command_id,
            determinism=report.determinism,
            earlier_classes=report.lineage.earlier_classes,
            inexact=report.lineage.inexact,
            residual=replace(report.change, forgotten=None) if report.change else None,
        )


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Receipt(ShownRecord):
    """A record of the work for a request. It claims nothing about what a model knows. A time is None until it is reached."""

    request_id: str
    hashes: tuple[str, ...]
    """Pseudonyms of the ids and the owner."""
    strategy: str
    boundary: str
    samples: int
    received_at: datetime
    due_at: datetime
    due_met: bool | None = None
    """Whether the result was exact when it was due; None while that is open. An inconclusive result does not meet it."""
    accepted_at: datetime
    generation_before: int
    manifest_before: str
    """SHA-256, in hex, of the file of the generation served before."""
    rewound_at: datetime | None = None
    generation_rewound: int | None = None
    repaired_at: datetime | None = None
    """When the last shard so far was repaired; some may be left until `published_at`."""
    published_at: datetime | None = None
    generation_after: int | None = None
    manifest_after: str | None = None
    """SHA-256, in hex, of the file of the generation served after."""
    purged_at: datetime | None = None
    purged_files: int = 0
    """Superseded files that were destroyed together with this request's."""
    purged_rows: int = 0
    """The run's own copies of revoked samples that were destroyed with them."""
    settled_at: datetime | None = None
    exactness: Exactness | None = None
    """Exactness of the published result, that of its least exact shard; APPROXIMATE until a patched shard is settled."""
    shards: tuple[ShardReceipt, ...] = ()

    @property
    def _facts(self) -> dict[str, object]:
        exact_at = f"{self.settled_at:%Y-%m-%d %H:%M} UTC" if self.is_exact else "not yet"
        return {
            "request": self.request_id,
            "samples": self.samples,
            "result": self.exactness or self.stage,
            "shards": len(self.shards),
            "due": f"{self.due_at:%Y-%m-%d %H:%M} UTC",
            "exact since": exact_at,
        }

    def is_as_issued(self, issued: "Receipt") -> bool:
        """Return whether a receipt was issued as this one. Version 0.1 counted an inconclusive result as exact in time."""
        if self.exactness is Exactness.INCONCLUSIVE and self.settled_at:
            of_first_version = self.settled_at <= self.due_at
            return issued in (self, replace(self, due_met=of_first_version))
        return issued == self

    @property
    def stage(self) -> RequestStage:
        """The stage that the request has reached. A retrained request is settled once it is purged."""
        if self.purged_at:
            return RequestStage.SETTLED if self.settled_at else RequestStage.PURGED
        if self.published_at:
            return RequestStage.PUBLISHED
        return RequestStage.REWOUND if self.rewound_at else RequestStage.ACCEPTED

    @property
    def is_exact(self) -> bool:
        """Whether every shard was retrained for the request, in one determinism class."""
        return self.settled_at is not None and self.exactness is Exactness.EXACT

    @property
    def came_overdue(self) -> bool:
        """Whether the request was due before it came."""
        return self.due_at < self.received_at

    @property
    def is_overdue(self) -> bool:
        """Whether the request is not exact and was due by the time that the receipt was read at."""
        return self.due_met is False and not self.is_exact

    def reached_at(self, stage: RequestStage) -> datetime | None:
        """Return when the request reached a stage; None if it has not, or was never rewound."""
        match stage:
            case RequestStage.ACCEPTED:
                return self.accepted_at
            case RequestStage.REWOUND:
                return self.rewound_at
            case RequestStage.PUBLISHED:
                return self.published_at
            case RequestStage.PURGED:
                return self.purged_at
            case RequestStage.SETTLED:
                return self.settled_at

    def at(self, now: datetime) -> "Receipt":
        """Return the receipt as it reads at a time: with whether the request was exact when it was due."""
        exact_at = None if self.exactness is Exactness.INCONCLUSIVE else self.settled_at
        return replace(self, due_met=exact_at <= self.due_at if exact_at else None if now <= self.due_at else False)
