"""The forecast of one request on a trained run. Nothing is changed, and no cluster is needed."""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from raymu.config.unlearning import Strategy
from raymu.core.commands import Decision
from raymu.core.planner import StrategyForecast, choose_remedies, forecast
from raymu.core.records import Remedy
from raymu.core.repair_speed import PredictionInterval
from raymu.core.workload import ShardWorkload
from raymu.errors import FileMissing, RequestInvalid
from raymu.service.followed_history import FollowedHistory
from raymu.service.history import History
from raymu.service.requests.admission import Admission
from raymu.service.requests.revocation import Revocation
from raymu.shown_record import ShownRecord
from raymu.store.journal.journal_reader import JournalReader
from raymu.store.run import RunStore
from raymu.text import forecast_duration, words


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardForecast:
    """The forecast of one shard that a request touches."""

    shard: int
    samples: int
    """Samples to forget."""
    earliest_slice: int
    """The slice from which retraining would start."""
    remedy: Remedy
    reason: str
    retrain_fraction: float
    """Work of retraining, as a fraction of training the whole shard."""
    retrain_passes: float
    retrain_seconds: float
    """Compute seconds."""
    patch_seconds: float
    """Compute seconds."""
    interval: PredictionInterval
    """Seconds that the remedy will take in nine of ten cases, by the repairs so far."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Forecast(ShownRecord):
    """The forecast of one request."""

    strategy: Strategy
    """The strategy that the remedies are chosen by."""
    boundary: str
    """The hybrid boundary that the remedies are chosen by."""
    workers: int
    shards: tuple[ShardForecast, ...]
    strategies: dict[Strategy, StrategyForecast]

    @property
    def _facts(self) -> dict[str, object]:
        counts = Counter(words(shard.remedy) for shard in self.shards)
        return {
            "strategy": self.strategy,
            "boundary": self.boundary,
            "remedies": ", ".join(f"{remedy} {count}x" for remedy, count in counts.items()),
            "compute": forecast_duration(self.strategies[self.strategy].seconds),
            "makespan": forecast_duration(self.strategies[self.strategy].makespan_seconds),
        }


def plan(
    store: RunStore, revocation: Revocation, *, workers: int | None = None, followed: FollowedHistory | None = None
) -> Forecast:
    """Forecast a request.

    Args:
        store: A trained run.
        revocation: The request.
        workers: Available workers; by default as many as trained the run.
        followed: The history that earlier calls have read, so that this one reads what is new.

    Raises:
        RunInvalid: The run is not trained.
        RaymuError: RequestInvalid, UnknownSamples, UnknownOwner or SamplesRevoked.
    """
    if workers is not None and workers < 1:
        raise RequestInvalid(f"workers is {workers}; a forecast needs at least one")
    store.require_published()
    followed = followed or FollowedHistory(store)
    with closing(store.journal(is_read_only=True)) as journal:
        while True:  # a coordinator may purge sample tables after the journal was read here
            with followed.following(journal, workers=workers) as (head, history):
                try:
                    return _forecast(store, revocation, journal, history, workers=workers or history.trained_on)
                except FileMissing:
                    if journal.head() == head:
                        raise


def _forecast(
    store: RunStore, revocation: Revocation, journal: JournalReader, history: History, *, workers: int
) -> Forecast:
    ohs = store.config.unlearning.ohs
    [admitted], _ = Admission(store, journal, history).admit_together([revocation], now=datetime.now(UTC))
    request = admitted.request
    workloads = history.board.workloads(request)
    decisions = choose_remedies(
        workloads, strategy=request.strategy, boundary=request.boundary, workers=workers, ohs=ohs
    )
    return Forecast(
        strategy=request.strategy,
        boundary=str(request.boundary),
        workers=workers,
        shards=tuple(_shard_forecast(workload, decisions[workload.shard]) for workload in workloads),
        strategies=forecast(workloads, boundary=request.boundary, workers=workers, ohs=ohs),
    )


def _shard_forecast(workload: ShardWorkload, decision: Decision) -> ShardForecast:
    return ShardForecast(
        shard=workload.shard,
        samples=workload.touched_samples,
        earliest_slice=workload.earliest_slice,
        remedy=decision.remedy,
        reason=decision.reason,
        retrain_fraction=workload.retrain_fraction,
        retrain_passes=workload.passes[Remedy.RETRAIN],
        retrain_seconds=workload.seconds(Remedy.RETRAIN),
        patch_seconds=workload.seconds(Remedy.PATCH),
        interval=workload.interval(decision.remedy),
    )
