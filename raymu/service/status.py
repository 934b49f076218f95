"""What a run is like, read from its directory: status and receipts. Readers write nothing and need no cluster."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from raymu.core.deadlines import Deadline, deadlines
from raymu.core.forecast_error import ForecastError
from raymu.core.receipt import Receipt, RequestStage
from raymu.core.records import Generation, Remedy, ShardState
from raymu.core.workload import settle_passes
from raymu.service.history import History, replay
from raymu.service.shard.messages import ShardLocation, ShardLocations
from raymu.store.receipts import latest_by_request
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardStatus:
    """weights_sha256: of what the shard serves, None for nothing; place: None where it lies in the run's directory only"""

    shard: int
    samples: int
    state: ShardState
    tainted_from: int | None
    weights_sha256: str | None
    place: ShardLocation | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestCounts:
    """How many requests have come how far; each stage counts those beyond it too."""

    accepted: int
    published: int
    purged: int
    settled: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Debt:
    """What settling would retrain. retrain_passes: sample passes"""

    shards: int
    retrain_passes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RemedyPace:
    """How forecasts held: seconds of compute of all remedies of a kind, forecast and actual.

    low, high: between them lies the next one's seconds / forecast, nine times in ten
    """

    remedies: int
    forecast_seconds: float
    seconds: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStatus:
    generation: int
    published_at: datetime
    shards: tuple[ShardStatus, ...]
    requests: RequestCounts
    debt: Debt
    deadlines: tuple[Deadline, ...]
    """Of the requests that are not exact yet, the earliest due first."""
    paces: dict[Remedy, RemedyPace]
    """Of the remedies that were carried out as planned."""


def status(store: RunStore, *, locations: ShardLocations | None = None) -> RunStatus:
    """Read a run's status; `locations` are shown with the shards. Raises RunInvalid if the run is not trained."""
    generation = store.current()
    with closing(store.journal(is_read_only=True)) as journal:
        history = replay(journal, store.manifest)
    return status_of(generation, history, now=datetime.now(UTC), locations=locations)


def status_of(
    generation: Generation, history: History, *, now: datetime, locations: ShardLocations | None = None
) -> RunStatus:
    """generation: the current one"""
    locations = locations or {}
    requests, settlements = history.receipts.receipts(), history.board.settle_workloads()
    weights = {one.shard: one.checkpoint.weights_sha256 for one in generation.constituents if one.checkpoint}
    states = {one.shard: one.state for one in generation.constituents}
    reached = Counter(stage for receipt in requests for stage in RequestStage if receipt.reached_at(stage))
    return RunStatus(
        generation=generation.number,
        published_at=generation.published_at,
        shards=tuple(
            ShardStatus(
                shard=lineage.shard,
                samples=lineage.samples,
                state=states[lineage.shard],
                tainted_from=lineage.tainted_from,
                weights_sha256=weights.get(lineage.shard),
                place=locations.get(lineage.shard),
            )
            for lineage in generation.lineages
        ),
        requests=RequestCounts(
            accepted=reached[RequestStage.ACCEPTED],
            published=reached[RequestStage.PUBLISHED],
            purged=reached[RequestStage.PURGED],
            settled=reached[RequestStage.SETTLED],
        ),
        debt=Debt(
            shards=sum(bool(lineage.debts) for lineage in history.board.lineages),
            retrain_passes=settle_passes(history.board.lineages, history.epochs),
        ),
        deadlines=deadlines(requests, history.board.owed, settlements, now=now, workers=history.trained_on),
        paces={
            remedy: _remedy_pace(error) for remedy, error in history.forecast_errors.by_remedy.items() if error.remedies
        },
    )


def _remedy_pace(error: ForecastError) -> RemedyPace:
    ratio = error.interval(1.0)
    return RemedyPace(
        remedies=error.remedies,
        forecast_seconds=error.forecast_seconds,
        seconds=error.seconds,
        low=ratio.low_s,
        high=ratio.high_s,
    )


def trained_on(store: RunStore) -> int:
    """How many workers trained the run."""
    with closing(store.journal(is_read_only=True)) as journal:
        return replay(journal, store.manifest).trained_on


def receipts(store: RunStore) -> tuple[Receipt, ...]:
    """Of all requests, in the order of acceptance."""
    with closing(store.journal(is_read_only=True)) as journal:
        now = datetime.now(UTC)
        return tuple(receipt.at(now) for receipt in replay(journal, store.manifest).receipts.receipts())


def signed_receipts(store: RunStore, request_ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The receipts as they were issued, signed: the last one of each of these requests, or of all."""
    with closing(store.journal(is_read_only=True)) as journal:
        return list(latest_by_request(journal.receipt_rows(request_ids)).values())
