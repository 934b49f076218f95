"""What a request would come to, refused or carried out; nothing changes, and no cluster is needed."""

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from raymu.config.unlearning import Strategy
from raymu.core.forecast_error import PredictionInterval
from raymu.core.planner import StrategyForecast, choose_remedies, forecast
from raymu.core.records import Remedy
from raymu.core.requests import RevocationRequest
from raymu.errors import FileCorrupt, FileMissing, RequestInvalid
from raymu.service.history import History, replay
from raymu.service.requests.admission import Admission
from raymu.service.requests.revocation import Revocation
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardForecast:
    """earliest_slice: where retraining would start; retrain_fraction: of the whole shard; seconds: of compute

    interval: what the remedy will take, nine times in ten, by how earlier forecasts held
    """

    shard: int
    samples: int
    earliest_slice: int
    remedy: Remedy
    reason: str
    retrain_fraction: float
    retrain_passes: float
    retrain_seconds: float
    patch_seconds: float
    interval: PredictionInterval


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a request would cost. strategy, boundary: those that the remedies are forecast for"""

    strategy: Strategy
    boundary: str
    workers: int
    shards: tuple[ShardForecast, ...]
    strategies: dict[Strategy, StrategyForecast]


def check_requests(store: RunStore, asked: Sequence[Revocation]) -> None:
    """Refuse what a coordinator would refuse; where files are damaged, that is for the coordinator to say.

    Raises RequestInvalid, UnknownSamples, UnknownOwner, SamplesRevoked, IdempotencyConflict.
    """
    with closing(store.journal(is_read_only=True)) as journal, suppress(FileMissing, FileCorrupt):
        desk = Admission(store, journal, replay(journal, store.manifest))
        desk.admit_together(asked, now=datetime.now(UTC))


def plan(store: RunStore, asked: Revocation, *, workers: int | None = None) -> Forecast:
    """Forecast a request, and change nothing. workers: at hand; as many as trained the run where not given

    Raises RunInvalid where the run is not trained, RequestInvalid, UnknownSamples, UnknownOwner, SamplesRevoked.
    """
    if workers is not None and workers < 1:
        raise RequestInvalid(f"workers is {workers}; a forecast needs at least one")
    ohs = store.config.unlearning.ohs
    store.current()  # refuses a run that is not trained
    request, history = _judged(store, asked, workers=workers)
    workers, paces = workers or history.trained_on, history.paces.paces
    workloads = history.board.workloads(request)
    decisions = choose_remedies(
        workloads, strategy=request.strategy, boundary=request.boundary, workers=workers, ohs=ohs
    )
    return Forecast(
        strategy=request.strategy,
        boundary=str(request.boundary),
        workers=workers,
        shards=tuple(
            ShardForecast(
                shard=one.shard,
                samples=one.touched_samples,
                earliest_slice=one.earliest_slice,
                remedy=decisions[one.shard].remedy,
                reason=decisions[one.shard].reason,
                retrain_fraction=one.retrain_fraction,
                retrain_passes=one.passes[Remedy.RETRAIN],
                retrain_seconds=one.seconds(Remedy.RETRAIN),
                patch_seconds=one.seconds(Remedy.PATCH),
                interval=paces[decisions[one.shard].remedy].interval(decisions[one.shard].seconds),
            )
            for one in workloads
        ),
        strategies=forecast(workloads, boundary=request.boundary, workers=workers, ohs=ohs),
    )


def _judged(store: RunStore, asked: Revocation, *, workers: int | None) -> tuple[RevocationRequest, History]:
    """A request as it would be accepted now, and the history that it is judged by.

    The run may go on meanwhile, and purge the tables of samples that its journal named: then it is judged anew.
    """
    with closing(store.journal(is_read_only=True)) as journal:
        while True:
            head, history = journal.head(), replay(journal, store.manifest, workers=workers)
            try:
                [resolved], _ = Admission(store, journal, history).admit_together([asked], now=datetime.now(UTC))
            except FileMissing:
                if journal.head() == head:
                    raise
            else:
                return resolved.request, history
