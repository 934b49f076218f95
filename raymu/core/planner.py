"""Chooses the remedy of each shard from the strategy and the hybrid boundary, and forecasts every strategy.

Also merges the choices of several requests, and picks the models that a calibration aims at.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from raymu.config import OhsConfig
from raymu.config.unlearning import Boundary, BoundaryKind, Strategy
from raymu.core.commands import CalibrationReference, Decision
from raymu.core.records import Cost, Remedy, ShardLineage
from raymu.core.remedies import REMEDIES
from raymu.core.workload import ShardWorkload, makespan
from raymu.text import duration, words


@dataclass(frozen=True, kw_only=True, slots=True)
class StrategyForecast(Cost):
    """Predicted cost of one strategy, over all shards."""

    makespan_seconds: float
    """Seconds until the last repair ends, with the workers at hand."""


def choose_remedies(
    workloads: Sequence[ShardWorkload], *, strategy: Strategy, boundary: Boundary, workers: int, ohs: OhsConfig
) -> dict[int, Decision]:
    """Choose the remedy of each touched shard.

    Args:
        workloads: The touched shards.
        strategy: The strategy of the request.
        boundary: The hybrid boundary, for `hs` and `ohs`.
        workers: Shards that are repaired side by side, for a deadline.
        ohs: What `ohs` does beyond the boundary.

    Returns:
        The decision of each shard.
    """
    to_retrain = _shards_to_retrain(workloads, strategy, boundary, workers)
    approximate = _approximate_remedy(strategy, ohs)
    return {
        workload.shard: _decide(workload, workload.shard in to_retrain, strategy, boundary, approximate)
        for workload in workloads
    }


def forecast(
    workloads: Sequence[ShardWorkload], *, boundary: Boundary, workers: int, ohs: OhsConfig
) -> dict[Strategy, StrategyForecast]:
    """Predict what each of the four strategies would cost."""
    forecasts = {}
    for strategy in Strategy:
        chosen = choose_remedies(workloads, strategy=strategy, boundary=boundary, workers=workers, ohs=ohs).values()
        forecasts[strategy] = StrategyForecast(
            passes=sum(decision.passes for decision in chosen),
            seconds=sum(decision.seconds for decision in chosen),
            makespan_seconds=makespan((decision.seconds for decision in chosen), workers=workers),
        )
    return forecasts


def _shards_to_retrain(
    workloads: Sequence[ShardWorkload], strategy: Strategy, boundary: Boundary, workers: int
) -> frozenset[int]:
    """Return the shards that the strategy retrains: all for sisa, none for dpus, otherwise those within the boundary."""
    match strategy:
        case Strategy.SISA:
            return frozenset(workload.shard for workload in workloads)
        case Strategy.DPUS:
            return frozenset()
        case Strategy.HS | Strategy.OHS:
            return _WITHIN[boundary.kind](workloads, boundary.value, workers)


def _within_fraction(workloads: Sequence[ShardWorkload], value: float, workers: int) -> frozenset[int]:  # noqa: ARG001
    return frozenset(workload.shard for workload in workloads if workload.retrain_fraction <= value)


def _within_seconds(workloads: Sequence[ShardWorkload], value: float, workers: int) -> frozenset[int]:  # noqa: ARG001
    return frozenset(workload.shard for workload in workloads if workload.seconds(Remedy.RETRAIN) <= value)


def _within_deadline(workloads: Sequence[ShardWorkload], value: float, workers: int) -> frozenset[int]:
    """Return as many shards, the cheapest first, as the workers can retrain in time."""
    costs = sorted((workload.seconds(Remedy.RETRAIN), workload.shard) for workload in workloads)
    kept: list[int] = []
    for count, (_, shard) in enumerate(costs, start=1):
        if makespan((seconds for seconds, _ in costs[:count]), workers=workers) > value:
            break
        kept.append(shard)
    return frozenset(kept)


_WITHIN = {
    BoundaryKind.FRACTION: _within_fraction,
    BoundaryKind.SECONDS: _within_seconds,
    BoundaryKind.DEADLINE: _within_deadline,
}


def _approximate_remedy(strategy: Strategy, ohs: OhsConfig) -> Remedy:
    """Return the approximate remedy that the strategy prefers. `_decide_beyond` replaces it where it is impossible."""
    if strategy is not Strategy.OHS:
        return Remedy.PATCH
    return next(remedy for remedy, rule in REMEDIES.items() if rule.ohs == ohs.remedy)


def _decide(
    workload: ShardWorkload, retrains: bool, strategy: Strategy, boundary: Boundary, approximate: Remedy
) -> Decision:
    fraction = f"{workload.retrain_fraction:.0%} of the shard"
    if workload.passes[Remedy.RETRAIN] == 0:
        return retrain(workload, "no retained sample is left to train on")
    if retrains:
        is_sisa = strategy is Strategy.SISA
        return retrain(workload, "sisa always retrains" if is_sisa else f"{fraction} is within the boundary {boundary}")
    is_dpus = strategy is Strategy.DPUS
    reason = "dpus always patches" if is_dpus else f"{fraction} is over the boundary {boundary}"
    return _decide_beyond(workload, approximate, reason, must_save_time=not is_dpus and boundary.value > 0.0)


def _decide_beyond(workload: ShardWorkload, remedy: Remedy, reason: str, *, must_save_time: bool) -> Decision:
    """Decide for a shard beyond the boundary: this remedy, or its substitute.

    Args:
        workload: The shard.
        remedy: The remedy that the strategy prefers. The substitute is chosen if it is impossible.
        reason: Why the shard is not retrained.
        must_save_time: Whether the shard is retrained if the remedy takes as long. A boundary of 0 asks for patches alone.
    """
    rule = REMEDIES[remedy]
    is_retrained_anyway = remedy not in workload.possible and rule.instead not in workload.possible
    if rule.must_be_cheaper and not is_retrained_anyway and workload.passes[Remedy.RETRAIN] <= workload.passes[remedy]:
        return retrain(workload, f"{words(remedy)} would cost as much as retraining")
    seconds, retrain_s = workload.seconds(remedy), workload.seconds(Remedy.RETRAIN)
    if must_save_time and not is_retrained_anyway and retrain_s <= seconds:
        times = f"forecast {duration(seconds)}, retraining {duration(retrain_s)}"
        return retrain(workload, f"{words(remedy)} would save no time: {times}")
    if remedy in workload.possible:
        return _decision(workload, remedy, reason)
    if rule.instead is Remedy.RETRAIN:
        return retrain(workload, rule.obstacle)
    return _decide_beyond(workload, rule.instead, f"{reason}; {rule.obstacle}", must_save_time=must_save_time)


def retrain(workload: ShardWorkload, reason: str) -> Decision:
    """Decide to retrain a shard."""
    return _decision(workload, Remedy.RETRAIN, reason)


def _decision(workload: ShardWorkload, remedy: Remedy, reason: str) -> Decision:
    return Decision(
        remedy=remedy,
        reason=reason,
        passes=workload.passes[remedy],
        seconds=workload.seconds(remedy),
        fixed_seconds=workload.fixed_seconds(remedy),
    )


def decide_repairs(
    workloads: Sequence[ShardWorkload],
    requested: Mapping[tuple[Strategy, Boundary], frozenset[int]],
    to_retrain: Mapping[int, str],
    *,
    workers: int,
    ohs: OhsConfig,
) -> dict[int, Decision]:
    """Decide once for each shard, on behalf of several requests.

    Args:
        workloads: The shards.
        requested: For each strategy and boundary that a request asks for, the shards that it touches.
        to_retrain: The shards that must be retrained whatever the requests ask for, with the reason.
        workers: Shards that are repaired side by side.
        ohs: What `ohs` does beyond the boundary.

    Returns:
        The decision of each shard that is requested or must be retrained.
    """
    wishes: dict[int, list[tuple[Strategy, Decision]]] = {}
    for (strategy, boundary), shards in requested.items():
        touched = [workload for workload in workloads if workload.shard in shards]
        chosen = choose_remedies(touched, strategy=strategy, boundary=boundary, workers=workers, ohs=ohs)
        for shard, decision in chosen.items():
            wishes.setdefault(shard, []).append((strategy, decision))
    decisions = {shard: _most_exact(shard_wishes) for shard, shard_wishes in wishes.items()}
    for workload in workloads:
        wished = decisions.get(workload.shard)
        if workload.shard in to_retrain and (wished is None or wished.remedy is not Remedy.RETRAIN):
            decisions[workload.shard] = retrain(workload, to_retrain[workload.shard])
    return decisions


def _most_exact(wishes: Sequence[tuple[Strategy, Decision]]) -> Decision:
    """Choose the remedy that serves several requests, with one reason, which all their receipts repeat."""
    strategy, decision = min(wishes, key=lambda wish: list(REMEDIES).index(wish[1].remedy))
    if len({wish.reason for _, wish in wishes}) == 1:
        return decision
    return replace(decision, reason=f"one of the requests that share it asked for {strategy}: {decision.reason}")


MOST_REFERENCES = 8
"""Most models of other shards that a calibration aims at. More would cost time and barely move the mean."""


def calibration_references(
    shard: int, sound: Iterable[ShardLineage], *, shards: int, is_awaited: Callable[[int], bool]
) -> tuple[CalibrationReference, ...]:
    """Choose the shards whose models a calibration aims at: the next ones with samples, shard 0 following the last.

    Args:
        shard: The shard to patch.
        sound: The lineages whose files exist.
        shards: Number of shards of the run.
        is_awaited: Says whether a request waits for a shard. Such shards come last.
    """
    others = [lineage for lineage in sound if lineage.shard != shard and lineage.samples]
    others.sort(key=lambda lineage: (is_awaited(lineage.shard), (lineage.shard - shard) % shards))
    return tuple(
        CalibrationReference(shard=lineage.shard, checkpoint=lineage.serving, table=lineage.table)
        for lineage in others[:MOST_REFERENCES]
    )
