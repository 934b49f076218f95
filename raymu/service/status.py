"""The status and the receipts of a run, read from its directory. Nothing is written, and no cluster is needed."""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from raymu.core.deadlines import Deadline, deadlines
from raymu.core.receipt import Receipt, RequestStage
from raymu.core.records import Generation, Remedy, ShardState
from raymu.core.repair_speed import RepairSpeed
from raymu.core.residuals import Residuals, residuals_by
from raymu.core.uri import basename
from raymu.core.workload import settle_passes
from raymu.service.followed_history import FollowedHistory
from raymu.service.history import History, open_history, replay
from raymu.service.served import rewound_for_accepted
from raymu.service.shard.messages import ShardLocation, ShardLocations
from raymu.service.waiting_group import GroupStatus, GroupWait, group_status, waits_of
from raymu.shown_record import ShownRecord
from raymu.store.presence import Presence
from raymu.store.receipts import latest_by_request
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardStatus:
    """The samples and the served state of one shard."""

    shard: int
    samples: int
    state: ShardState
    tainted_from: int | None
    """First stage that must be retrained to be exact again; None without debt."""
    weights_sha256: str | None
    """Hash of the weights that the shard serves; None if it abstains."""
    place: ShardLocation | None = None
    """The actor that has the shard in memory; None if only the run's directory has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestCounts:
    """Number of requests that have reached each stage. Those beyond it count too."""

    accepted: int
    published: int
    purged: int
    settled: int
    missed: int = 0
    """Those that were not exact when they were due."""
    overdue: int = 0
    """Those that are due and not exact yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Debt:
    """The shards that settling would retrain."""

    shards: int
    retrain_passes: int
    """Sample passes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemedyForecastError:
    """The accuracy of the forecasts for one kind of remedy."""

    remedies: int
    forecast_seconds: float
    """Forecast compute of all these remedies."""
    seconds: float
    """Measured compute of all these remedies."""
    within: int
    """Remedies whose seconds were within the interval that was forecast, which is to hold in nine of ten cases."""
    low: float
    """Lower bound of the next remedy's seconds / forecast, at 90%."""
    high: float
    """Upper bound of the next remedy's seconds / forecast, at 90%."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class RunStatus(ShownRecord):
    """The status of a run."""

    run_id: str
    name: str
    """Name of the run's directory."""
    generation: int
    published_at: datetime
    shards: tuple[ShardStatus, ...]
    requests: RequestCounts
    debt: Debt
    deadlines: tuple[Deadline, ...]
    """Deadlines of the requests that are not exact yet, the earliest first."""
    paces: dict[Remedy, RemedyForecastError]
    """Accuracy of forecasts on the present device, by the remedies that were carried out as planned. The name is one of
    `status --json`."""
    residuals: Residuals
    """How well past patches forgot."""

    @property
    def _facts(self) -> dict[str, object]:
        return {
            "run": self.name,
            "id": self.run_id,
            "generation": self.generation,
            "shards": len(self.shards),
            "requests": self.requests.accepted,
            "exact": self.requests.settled,
            "overdue": self.requests.overdue,
            "shards in debt": self.debt.shards,
        }

    inexact: tuple[str, ...] = ()
    """Why the bits of some shards cannot be repeated, one line each."""
    class_names: tuple[int | bool | str, ...] | None = None
    """The label of each class; None if labels are the numbers from 0."""
    conversions: tuple[str, ...] = ()
    """What was converted when the training file, and those of later samples, were read."""
    slices: int = 0
    """Slices of each shard, with those that were added."""
    untrained_slices: int = 0
    """How many of them were added, and are not trained in every shard yet."""
    group: GroupStatus | None = None
    """The repaired requests that wait to become visible together; None if none waits."""
    coordinator: Presence | None = None
    """The coordinator that is up, or the process at work on the run; None if there is none."""


def status(
    store: RunStore, *, locations: ShardLocations | None = None, followed: FollowedHistory | None = None
) -> RunStatus:
    """Read a run's status.

    Args:
        store: The run.
        locations: What is shown with the shards.
        followed: The run's history as far as it was read before. By default, it is read anew.

    Raises:
        RunInvalid: The run is not trained.
    """
    with (followed or FollowedHistory(store)).read() as history:
        generation = rewound_for_accepted(store.current(), history)
        now, presence = datetime.now(UTC), store.presence.read()
        coordinator = None if presence is None or presence.is_ended else presence
        return replace(status_of(store, generation, history, now=now, locations=locations), coordinator=coordinator)


def status_of(
    store: RunStore,
    generation: Generation,
    history: History,
    *,
    now: datetime,
    locations: ShardLocations | None = None,
) -> RunStatus:
    """Combine the current generation and the history into a status."""
    locations = locations or {}
    requests, done, settlements = history.receipts.open, history.receipts.done, history.board.settle_workloads()
    weights = {
        served.shard: served.checkpoint.weights_sha256 for served in generation.constituents if served.checkpoint
    }
    states = {served.shard: served.state for served in generation.constituents}
    reached = Counter(stage for receipt in requests for stage in RequestStage if receipt.reached_at(stage))
    lineages = history.board.lineages or generation.lineages
    return RunStatus(
        run_id=store.manifest.run_id,
        name=basename(store.location),
        class_names=store.manifest.class_names,
        conversions=tuple(dict.fromkeys((*store.manifest.conversions, *history.conversions))),
        slices=lineages[0].slices,
        untrained_slices=lineages[0].slices - min(lineage.trained_slices for lineage in lineages),
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
            accepted=done.requests + reached[RequestStage.ACCEPTED],
            published=done.requests + reached[RequestStage.PUBLISHED],
            purged=done.requests + reached[RequestStage.PURGED],
            settled=done.requests + reached[RequestStage.SETTLED],
            missed=done.exact_late
            + done.overdue_at(now)
            + sum(receipt.at(now).due_met is False for receipt in requests),
            overdue=done.overdue_at(now) + sum(receipt.at(now).is_overdue for receipt in requests),
        ),
        debt=Debt(
            shards=sum(bool(lineage.debts) for lineage in history.board.lineages),
            retrain_passes=settle_passes(history.board.lineages, history.epochs),
        ),
        deadlines=deadlines(requests, history.board.owed, settlements, now=now, workers=history.trained_on),
        paces={
            remedy: _forecast_error(speed)
            for remedy, speed in ((remedy, history.board.speeds.of(remedy)) for remedy in Remedy)
            if speed.repairs
        },
        residuals=residuals_by(history.receipts.residuals),
        inexact=tuple(dict.fromkeys(reason for lineage in generation.lineages for reason in lineage.inexact)),
        group=group_status(history.board, generation),
    )


def _forecast_error(speed: RepairSpeed) -> RemedyForecastError:
    return RemedyForecastError(
        remedies=speed.repairs,
        forecast_seconds=speed.forecast_seconds,
        seconds=speed.seconds,
        within=speed.within,
        low=1.0 / speed.error_ratio,
        high=speed.error_ratio,
    )


def trained_on(store: RunStore) -> int:
    """Return how many workers trained the run."""
    with closing(store.journal(is_read_only=True)) as journal:
        return open_history(store, journal).trained_on


def receipts(store: RunStore) -> tuple[Receipt, ...]:
    """Return the receipts of all requests, in the order of acceptance."""
    with closing(store.journal(is_read_only=True)) as journal:
        return _receipts_in(replay(journal, store.manifest), None)


def receipts_of(
    store: RunStore, request_ids: Collection[str], *, followed: FollowedHistory | None = None
) -> tuple[Receipt, ...]:
    """Return the receipts of those requests that the run accepted, in the order of acceptance.

    Of requests that are done, only these are read.

    Args:
        store: The run.
        request_ids: The requests.
        followed: The run's history as far as it was read before. By default, it is read anew.
    """
    with (followed or FollowedHistory(store)).read() as history:
        return _receipts_in(history, request_ids)


def receipts_and_waits(
    store: RunStore, request_ids: Collection[str] | None = None, *, followed: FollowedHistory | None = None
) -> tuple[tuple[Receipt, ...], dict[str, GroupWait]]:
    """Return the receipts of these requests, or of all, and what those wait for that wait for a group.

    The journal is read once for both.

    Args:
        store: The run.
        request_ids: The requests; None for all.
        followed: The run's history as far as it was read before. By default, it is read anew, and so it is for all requests.
    """
    if request_ids is None:
        with closing(store.journal(is_read_only=True)) as journal:
            history = replay(journal, store.manifest)
        known = _receipts_in(history, None)
        return known, waits_of(store, history, known)
    with (followed or FollowedHistory(store)).read() as history:
        known = _receipts_in(history, request_ids)
        return known, waits_of(store, history, known)


def _receipts_in(history: History, request_ids: Collection[str] | None) -> tuple[Receipt, ...]:
    now, receipts = datetime.now(UTC), history.receipts
    known = receipts.receipts() if request_ids is None else receipts.find(frozenset(request_ids)).values()
    return tuple(receipt.at(now) for receipt in sorted(known, key=lambda receipt: receipt.accepted_at))


def signed_receipts(store: RunStore, request_ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the signed receipts as they were issued: the last one of each of these requests, or of all."""
    with closing(store.journal(is_read_only=True)) as journal:
        return list(latest_by_request(journal.receipt_rows(request_ids)).values())
