"""From the records of a run to what its page says: one pure function."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from raymu.config import Config
from raymu.core.deadlines import Deadline
from raymu.core.events import DamageFound, Event, ShardFailed
from raymu.core.receipt import RequestStage
from raymu.core.records import Exactness
from raymu.report.accuracy import Accuracy, accuracy_of
from raymu.report.forecasts import Forecasts, forecasts_of
from raymu.report.grid import Grid, grid_of
from raymu.report.load import RunRecord
from raymu.report.requests import LATE, DeadlineStatus, RequestView, request_view
from raymu.report.training_summary import FactGroup, training_summary
from raymu.service.status import Debt
from raymu.service.verify.verify import Verification


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Counts of requests, unless said otherwise. late: overdue, or exact too late by the forecast; missed: were late"""

    requests: int
    samples_revoked: int
    exact: int
    inconclusive: int
    approximate: int
    under_way: int
    unpurged: int
    late: int
    missed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Incident:
    at: datetime
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DueRequest:
    """What is owed to a request, and by when."""

    deadline: Deadline
    timeliness: DeadlineStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportView:
    """requests: the newest first; duties: the earliest due first; missed: exact now, and too late"""

    name: str
    run_id: str
    written_at: datetime
    generation: int
    published_at: datetime
    glance: Summary
    facts: tuple[FactGroup, ...]
    grid: Grid
    requests: tuple[RequestView, ...]
    debt: Debt
    duties: tuple[DueRequest, ...]
    missed: tuple[RequestView, ...]
    incidents: tuple[Incident, ...]
    forecasts: Forecasts
    accuracy: Accuracy
    verification: Verification | None
    audit: Any


def view_of(record: RunRecord) -> ReportView:
    now, config = record.read_at, Config.parse(record.manifest.config)
    late = {one.request_id for one in record.status.deadlines if one.is_late}
    requests = {one.request_id: request_view(one, late=late, now=now) for one in record.receipts}
    evaluation = record.measured.evaluation if record.measured else None
    alone = evaluation.constituent_accuracy if evaluation else {}
    is_tracked = config.data.track_accuracy
    return ReportView(
        name=record.name,
        run_id=record.manifest.run_id,
        written_at=now,
        generation=record.generation.number,
        published_at=record.generation.published_at,
        glance=_glance(list(requests.values())),
        facts=training_summary(record.manifest, record.generation, record.events, _determinism(record)),
        grid=grid_of(record.generation, record.receipts, record.events, alone),
        requests=tuple(reversed(requests.values())),
        debt=record.status.debt,
        duties=tuple(
            DueRequest(deadline=one, timeliness=requests[one.request_id].timeliness) for one in record.status.deadlines
        ),
        missed=tuple(one for one in requests.values() if one.timeliness is DeadlineStatus.MISSED),
        incidents=tuple(incident for event in record.events if (incident := _incident(event))),
        forecasts=forecasts_of(record.events),
        accuracy=accuracy_of(record.evaluations, record.events, record.measured, is_tracked=is_tracked, now=now),
        verification=record.verification,
        audit=record.audit,
    )


def _determinism(record: RunRecord) -> list[str]:
    """The classes that states were made in: by training, and by the remedies."""
    trained = [record.determinism] if record.determinism else []
    return trained + [part.determinism for receipt in record.receipts for part in receipt.shards]


def _glance(requests: list[RequestView]) -> Summary:
    results = Counter(request.result for request in requests)
    return Summary(
        requests=len(requests),
        samples_revoked=sum(one.receipt.samples for one in requests),
        exact=results[Exactness.EXACT],
        inconclusive=results[Exactness.INCONCLUSIVE],
        approximate=results[Exactness.APPROXIMATE],
        under_way=results[RequestStage.REWOUND] + results[RequestStage.ACCEPTED],
        unpurged=sum(one.receipt.purged_at is None for one in requests),
        late=sum(one.timeliness in LATE for one in requests),
        missed=sum(one.timeliness is DeadlineStatus.MISSED for one in requests),
    )


def _incident(event: Event) -> Incident | None:
    match event:
        case ShardFailed(shard=shard):
            return Incident(at=event.at, what=f"a remedy of shard {shard} broke off; its requests stayed accepted")
        case DamageFound(first_stages=first_stages):
            shards = ", ".join(str(shard) for shard in sorted(first_stages))
            what = f"of shard {shards}" if first_stages else "of the run"
            return Incident(at=event.at, what=f"files {what} were missing or changed, and are made again")
        case _:
            return None
