"""The content of the page, as one pure function of the records of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from raymu.config import Config, TargetName
from raymu.core.deadlines import Deadline
from raymu.core.events import DamageFound, Event, ShardFailed
from raymu.core.receipt import RequestStage
from raymu.core.records import Exactness
from raymu.core.residuals import Residuals
from raymu.core.verdict import CheckName, LastVerdict
from raymu.report.accuracy import Accuracy, accuracy_of
from raymu.report.audit_summary import AuditSummary, audit_summary
from raymu.report.forecasts import Forecasts, forecasts_of
from raymu.report.grid import Grid, grid_of
from raymu.report.load import RunRecord
from raymu.report.remedy_figure import RemedyFigure, remedy_figure, shown_audit
from raymu.report.request_groups import RequestGroups, request_groups
from raymu.report.requests import LATE, DeadlineStatus, RequestView, request_view
from raymu.report.snapshot_summary import SnapshotSummary, snapshot_summary
from raymu.report.training_summary import FactGroup, training_summary
from raymu.service.status import Debt
from raymu.service.waiting_group import GroupStatus

if TYPE_CHECKING:
    from raymu.service.verify.verify import Verification


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Counts of requests, unless the name says otherwise."""

    requests: int
    samples_revoked: int
    exact: int
    inconclusive: int
    approximate: int
    under_way: int
    """Accepted or rewound, and not published yet."""
    unpurged: int
    late: int
    """Overdue, or exact too late by the forecast."""
    missed: int
    """Exact now, and later than the due date."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Incident:
    """A failure that the journal records."""

    at: datetime
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DueRequest:
    """The deadline of a request that is not exact yet, with its status."""

    deadline: Deadline
    deadline_status: DeadlineStatus

    @property
    def is_late(self) -> bool:
        """Whether the request requires an action."""
        return self.deadline_status in LATE


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportView:
    """Everything that the page says."""

    name: str
    run_id: str
    written_at: datetime
    generation: int
    published_at: datetime
    summary: Summary
    training: tuple[FactGroup, ...]
    grid: Grid
    requests: RequestGroups
    key_fingerprint: str | None
    """SHA-256 of the public key that receipts are signed with."""
    debt: Debt
    group: GroupStatus | None
    """The repaired requests that wait to become visible together; None if none waits."""
    residuals: Residuals
    deadlines: tuple[DueRequest, ...]
    """The earliest due first."""
    missed: tuple[RequestView, ...]
    """Exact now, and later than the due date."""
    incidents: tuple[Incident, ...]
    forecasts: Forecasts
    accuracy: Accuracy
    verification: Verification | None
    last_verification: LastVerdict | None
    """How `raymu verify` ended last; None if nobody has verified the run."""
    last_audit: LastVerdict | None
    """How `raymu audit` ended last."""
    audit_summary: AuditSummary | None
    """None without an audit that has what the page shows."""
    audit: Any
    """A JSON document without row numbers; None if no file is given."""
    audit_source: str
    """What it is an audit of, and what vouches for it; empty without one."""
    snapshots: SnapshotSummary | None
    """An audit with two snapshots; None without one that has what the page shows."""
    remedy: RemedyFigure | None
    """The repeated remedy of the audit, if it has one."""


def view_of(record: RunRecord) -> ReportView:
    """Describe a run."""
    now, config = record.read_at, Config.parse(record.manifest.config)
    late = {deadline.request_id for deadline in record.status.deadlines if deadline.is_late}
    requests = {
        receipt.request_id: request_view(
            receipt, late=late, now=now, issued=record.issued.get(receipt.request_id), group=record.status.group
        )
        for receipt in record.receipts
    }
    evaluation = record.measured.evaluation if record.measured else None
    shard_accuracy = evaluation.constituent_accuracy if evaluation else {}
    is_tracked = config.data.track_accuracy
    return ReportView(
        name=record.name,
        run_id=record.manifest.run_id,
        written_at=now,
        generation=record.generation.number,
        published_at=record.generation.published_at,
        summary=_summary(list(requests.values())),
        training=training_summary(record.manifest, record.generation, record.events, _determinism(record)),
        grid=grid_of(record.generation, record.receipts, record.events, shard_accuracy),
        requests=request_groups(list(reversed(requests.values()))),
        key_fingerprint=record.key_fingerprint,
        debt=record.status.debt,
        group=record.status.group,
        residuals=record.status.residuals,
        deadlines=tuple(
            DueRequest(deadline=deadline, deadline_status=requests[deadline.request_id].deadline_status)
            for deadline in record.status.deadlines
        ),
        missed=tuple(request for request in requests.values() if request.deadline_status is DeadlineStatus.MISSED),
        incidents=tuple(incident for event in record.events if (incident := _incident(event))),
        forecasts=forecasts_of(record.events),
        accuracy=accuracy_of(
            record.evaluations,
            record.events,
            record.measured,
            is_tracked=is_tracked,
            now=now,
            is_share=config.task.target is not TargetName.REGRESSION,
        ),
        verification=record.verification,
        last_verification=last_verdict(record.last_verdicts, "verify"),
        last_audit=last_verdict(record.last_verdicts, "audit"),
        audit_summary=audit_summary(record.audit),
        audit=shown_audit(record.audit),
        audit_source=record.audit_source,
        snapshots=snapshot_summary(record.snapshots, record.snapshots_source),
        remedy=remedy_figure(record.audit),
    )


def last_verdict(verdicts: Sequence[LastVerdict], check: CheckName) -> LastVerdict | None:
    """Return how a check ended last; None if nobody has made it."""
    return next((verdict for verdict in verdicts if verdict.check == check), None)


def _determinism(record: RunRecord) -> list[str]:
    """Return the determinism classes of all states, by training and by repairs."""
    trained = [record.determinism] if record.determinism else []
    return trained + [part.determinism for receipt in record.receipts for part in receipt.shards]


def _summary(requests: list[RequestView]) -> Summary:
    results = Counter(request.result for request in requests)
    return Summary(
        requests=len(requests),
        samples_revoked=sum(request.receipt.samples for request in requests),
        exact=results[Exactness.EXACT],
        inconclusive=results[Exactness.INCONCLUSIVE],
        approximate=results[Exactness.APPROXIMATE],
        under_way=results[RequestStage.REWOUND] + results[RequestStage.ACCEPTED],
        unpurged=sum(request.receipt.purged_at is None for request in requests),
        late=sum(request.deadline_status in LATE for request in requests),
        missed=sum(request.deadline_status is DeadlineStatus.MISSED for request in requests),
    )


def _incident(event: Event) -> Incident | None:
    """Describe an event if it is a failure."""
    match event:
        case ShardFailed(shard=shard):
            return Incident(at=event.at, description=f"a repair of shard {shard} failed; its requests stayed accepted")
        case DamageFound(first_stages=first_stages):
            shards = ", ".join(str(shard) for shard in sorted(first_stages))
            files = f"files of shard {shards}" if first_stages else "files of the run"
            return Incident(at=event.at, description=f"{files} were missing or changed; they are restored")
        case _:
            return None
