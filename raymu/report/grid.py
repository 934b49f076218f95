"""Shards and slices as a grid that people can look at: which checkpoints are sound, and what is served."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from raymu.core.commands import RepairReport
from raymu.core.events import DamageFound, Event, GenerationPublished, RevocationsAccepted, ShardRepaired
from raymu.core.receipt import Receipt
from raymu.core.records import CheckpointRef, Constituent, Generation, Remedy, ShardLineage, ShardState


class CheckpointState(StrEnum):
    """SOUND: it never saw a forgotten sample. TOUCHED: it saw samples of an accepted request, and waits for the remedy.
    TAINTED: it saw forgotten samples, may not be read, and waits for the purge. DESTROYED: it is gone, and owed.
    LOST: it, or what it was made from, is damaged.
    """

    SOUND = "sound"
    TOUCHED = "touched"
    TAINTED = "tainted"
    DESTROYED = "destroyed"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One slice of a shard, and the checkpoint of its stage. is_served: predictions are made from this checkpoint"""

    samples: int
    checkpoint: CheckpointState
    is_served: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class GridRow:
    """One shard. accuracy: of its constituent alone, where measured; open_requests: not exact in this shard yet"""

    shard: int
    samples: int
    state: ShardState
    weights_sha256: str | None
    open_requests: int
    accuracy: float | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    slices: int
    rows: tuple[GridRow, ...]

    @property
    def states(self) -> dict[ShardState, int]:
        """How many shards are in each state."""
        return {state: sum(row.state is state for row in self.rows) for state in ShardState}

    @property
    def checkpoints(self) -> dict[CheckpointState, int]:
        """How many checkpoints are in each state."""
        found = [cell.checkpoint for row in self.rows for cell in row.cells]
        return {state: found.count(state) for state in CheckpointState}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """What the published lineages are not past.

    touched: shard -> request that waits -> the earliest slice it touches; lost: shard -> first stage with damaged files
    """

    touched: Mapping[int, Mapping[str, int]]
    lost: Mapping[int, int]

    def requests(self, shard: int) -> Mapping[str, int]:
        return self.touched.get(shard, {})


def grid_of(
    generation: Generation, receipts: Iterable[Receipt], events: Iterable[Event], accuracy: Mapping[int, float]
) -> Grid:
    """accuracy: shard -> of its constituent alone, where measured"""
    pending = _pending(events)
    unpurged = {receipt.request_id for receipt in receipts if receipt.purged_at is None}
    return Grid(
        slices=generation.lineages[0].slices,
        rows=tuple(
            GridRow(
                shard=lineage.shard,
                samples=lineage.samples,
                state=constituent.state,
                weights_sha256=constituent.checkpoint.weights_sha256 if constituent.checkpoint else None,
                open_requests=len({*lineage.debts, *pending.requests(lineage.shard)}),
                accuracy=accuracy.get(lineage.shard),
                cells=_cells(lineage, constituent, pending, is_purged=unpurged.isdisjoint(lineage.debts)),
            )
            for lineage, constituent in zip(generation.lineages, generation.constituents, strict=True)
        ),
    )


def _pending(events: Iterable[Event]) -> Pending:
    touched: dict[int, dict[str, int]] = {}
    lost: dict[int, int] = {}
    unpublished: list[RepairReport] = []
    for event in events:
        match event:
            case RevocationsAccepted(requests=requests):
                for request, part in ((one, part) for one in requests for part in one.forget):
                    touched.setdefault(part.shard, {})[request.request_id] = part.earliest_slice
            case DamageFound(first_stages=first_stages):
                lost |= {shard: min(stage, lost.get(shard, stage)) for shard, stage in first_stages.items()}
            case ShardRepaired(report=report):
                unpublished.append(report)
            case GenerationPublished():
                for report in unpublished:
                    for request_id in report.request_ids:
                        touched.get(report.shard, {}).pop(request_id, None)
                    if report.remedy is Remedy.RETRAIN:
                        lost.pop(report.shard, None)
                unpublished.clear()
            case _:
                pass
    return Pending(touched=touched, lost=lost)


def _cells(lineage: ShardLineage, constituent: Constituent, pending: Pending, *, is_purged: bool) -> tuple[Cell, ...]:
    touched_from = min(pending.requests(lineage.shard).values(), default=lineage.slices)
    lost_from = pending.lost.get(lineage.shard, lineage.slices)

    def state(stage: int, checkpoint: CheckpointRef | None) -> CheckpointState:
        if checkpoint is None:
            return CheckpointState.DESTROYED if is_purged else CheckpointState.TAINTED
        if stage >= lost_from:
            return CheckpointState.LOST
        return CheckpointState.TOUCHED if stage >= touched_from else CheckpointState.SOUND

    return tuple(
        Cell(
            samples=samples,
            checkpoint=state(stage, checkpoint),
            is_served=checkpoint is not None and checkpoint == constituent.checkpoint,
        )
        for stage, (samples, checkpoint) in enumerate(zip(lineage.slice_samples, lineage.checkpoints, strict=True))
    )
