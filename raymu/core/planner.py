"""Retrain or patch: the strategies as a rule per shard, and their forecast."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from raymu.config import OhsConfig
from raymu.config.unlearning import Boundary, BoundaryKind, Strategy
from raymu.core.commands import CalibrationReference, Decision
from raymu.core.records import Cost, Remedy, ShardLineage
from raymu.core.workload import ShardWorkload, makespan

_MOST_EXACT_FIRST = (Remedy.RETRAIN, Remedy.REPLAY, Remedy.FINE_TUNE, Remedy.PATCH)


@dataclass(frozen=True, kw_only=True, slots=True)
class StrategyForecast(Cost):
    """Predicted cost of one strategy, over all shards."""

    makespan_seconds: float
    """Seconds until the last repair ends, with the workers at hand."""


def choose_remedies(
    workloads: Sequence[ShardWorkload], *, strategy: Strategy, boundary: Boundary, workers: int, ohs: OhsConfig
) -> dict[int, Decision]:
    """The remedy of every touched shard. returns: shard -> decision"""
    retrained = _retrained(workloads, strategy, boundary, workers)
    return {one.shard: _decide(one, one.shard in retrained, strategy, boundary, ohs) for one in workloads}


def forecast(
    workloads: Sequence[ShardWorkload], *, boundary: Boundary, workers: int, ohs: OhsConfig
) -> dict[Strategy, StrategyForecast]:
    """What each of the four strategies would cost."""
    forecasts = {}
    for strategy in Strategy:
        chosen = choose_remedies(workloads, strategy=strategy, boundary=boundary, workers=workers, ohs=ohs).values()
        forecasts[strategy] = StrategyForecast(
            passes=sum(decision.passes for decision in chosen),
            seconds=sum(decision.seconds for decision in chosen),
            makespan_seconds=makespan((decision.seconds for decision in chosen), workers=workers),
        )
    return forecasts


def _retrained(
    workloads: Sequence[ShardWorkload], strategy: Strategy, boundary: Boundary, workers: int
) -> frozenset[int]:
    """The shards within the hybrid boundary."""
    match strategy:
        case Strategy.SISA:
            return frozenset(one.shard for one in workloads)
        case Strategy.DPUS:
            return frozenset()
        case Strategy.HS | Strategy.OHS:
            return _WITHIN[boundary.kind](workloads, boundary.value, workers)


def _within_fraction(workloads: Sequence[ShardWorkload], value: float, workers: int) -> frozenset[int]:  # noqa: ARG001
    return frozenset(one.shard for one in workloads if one.retrain_fraction <= value)


def _within_seconds(workloads: Sequence[ShardWorkload], value: float, workers: int) -> frozenset[int]:  # noqa: ARG001
    return frozenset(one.shard for one in workloads if one.seconds(Remedy.RETRAIN) <= value)


def _within_deadline(workloads: Sequence[ShardWorkload], value: float, workers: int) -> frozenset[int]:
    """As many shards, cheapest first, as the workers can retrain in time."""
    cheapest_first = sorted(workloads, key=lambda one: (one.seconds(Remedy.RETRAIN), one.shard))
    kept: list[ShardWorkload] = []
    for one in cheapest_first:
        if makespan((other.seconds(Remedy.RETRAIN) for other in (*kept, one)), workers=workers) > value:
            break
        kept.append(one)
    return frozenset(one.shard for one in kept)


_WITHIN = {
    BoundaryKind.FRACTION: _within_fraction,
    BoundaryKind.SECONDS: _within_seconds,
    BoundaryKind.DEADLINE: _within_deadline,
}


def _decide(
    workload: ShardWorkload, is_within: bool, strategy: Strategy, boundary: Boundary, ohs: OhsConfig
) -> Decision:
    if workload.passes[Remedy.RETRAIN] == 0:
        remedy, reason = Remedy.RETRAIN, "no retained sample is left to train on"
    elif is_within:
        cost = f"{workload.retrain_fraction:.0%} of the shard"
        reason = "sisa always retrains" if strategy is Strategy.SISA else f"{cost} is within the boundary {boundary}"
        remedy = Remedy.RETRAIN
    elif not workload.can_patch:
        remedy, reason = Remedy.RETRAIN, "no model that never saw these samples is there to calibrate a patch by"
    elif strategy is Strategy.OHS:
        remedy, reason = _optimised_patch(workload, boundary, ohs)
    else:
        over = f"{workload.retrain_fraction:.0%} of the shard is over the boundary {boundary}"
        remedy, reason = Remedy.PATCH, "dpus always patches" if strategy is Strategy.DPUS else over
    return Decision(remedy=remedy, reason=reason, passes=workload.passes[remedy], seconds=workload.seconds(remedy))


def _optimised_patch(workload: ShardWorkload, boundary: Boundary, ohs: OhsConfig) -> tuple[Remedy, str]:
    over = f"{workload.retrain_fraction:.0%} of the shard is over the boundary {boundary}"
    if ohs.remedy == "fine_tune":
        return Remedy.FINE_TUNE, over
    if workload.passes[Remedy.RETRAIN] <= workload.passes[Remedy.REPLAY]:
        return Remedy.RETRAIN, "a replay would cost as much as retraining"
    if not workload.can_replay:
        return Remedy.FINE_TUNE, f"{over}; the checkpoint to replay from is gone"
    return Remedy.REPLAY, over


def decide_repairs(
    workloads: Sequence[ShardWorkload],
    requested: Mapping[tuple[Strategy, Boundary], frozenset[int]],
    to_retrain: Mapping[int, str],
    *,
    workers: int,
    ohs: OhsConfig,
) -> dict[int, Decision]:
    """One decision per shard, for several requests at once.

    requested: what is asked for -> the shards it touches; to_retrain: shard -> why, whatever is asked for
    """
    wishes: dict[int, list[tuple[Strategy, Decision]]] = {}
    for (strategy, boundary), shards in requested.items():
        theirs = [one for one in workloads if one.shard in shards]
        for shard, decision in choose_remedies(
            theirs, strategy=strategy, boundary=boundary, workers=workers, ohs=ohs
        ).items():
            wishes.setdefault(shard, []).append((strategy, decision))
    decisions = {shard: _most_exact(of) for shard, of in wishes.items()}
    for one in workloads:
        if one.shard in to_retrain and not _is_retrained(decisions.get(one.shard)):
            decisions[one.shard] = retrain(one, to_retrain[one.shard])
    return decisions


def retrain(workload: ShardWorkload, reason: str) -> Decision:
    remedy = Remedy.RETRAIN
    return Decision(remedy=remedy, reason=reason, passes=workload.passes[remedy], seconds=workload.seconds(remedy))


def _most_exact(wishes: Sequence[tuple[Strategy, Decision]]) -> Decision:
    """One remedy serves several requests, and has one reason in all their receipts."""
    strategy, decision = min(wishes, key=lambda wish: _MOST_EXACT_FIRST.index(wish[1].remedy))
    if len({one.reason for _, one in wishes}) == 1:
        return decision
    return replace(decision, reason=f"one of the requests that share it asked for {strategy}: {decision.reason}")


def _is_retrained(decision: Decision | None) -> bool:
    return decision is not None and decision.remedy is Remedy.RETRAIN


MOST_REFERENCES = 8
"""How many other shards' models a calibration aims at; more cost time and barely move the mean."""


def calibration_references(
    shard: int, sound: Iterable[ShardLineage], *, shards: int, is_awaited: Callable[[int], bool]
) -> tuple[CalibrationReference, ...]:
    """The next shards around the ring that have samples, those that no request waits for first.

    sound: the lineages whose files are there; is_awaited: whether a request waits for a shard
    """
    others = [one for one in sound if one.shard != shard and one.samples]
    others.sort(key=lambda one: (is_awaited(one.shard), (one.shard - shard) % shards))
    return tuple(
        CalibrationReference(shard=one.shard, checkpoint=one.serving, table=one.table)
        for one in others[:MOST_REFERENCES]
    )
