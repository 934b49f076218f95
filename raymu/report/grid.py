"""The grid of shards and slices on the page: which checkpoints are sound, and which are served."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from raymu.core.commands import RepairReport
from raymu.core.events import DamageFound, Event, GenerationPublished, RevocationsAccepted, ShardRepaired
from raymu.core.receipt import Receipt
from raymu.core.records import CheckpointRef, Constituent, Generation, Remedy, ShardLineage, ShardState


class CheckpointState(StrEnum):
    """Whether a checkpoint saw revoked samples, and what will become of it."""

    SOUND = "sound"
    """It never saw a revoked sample."""
    TOUCHED = "touched"
    """It saw samples of an accepted request, and waits for the repair."""
    TAINTED = "tainted"
    """It saw revoked samples, may not be read, and waits for the purge."""
    DESTROYED = "destroyed"
    """It is destroyed, and retraining is owed."""
    LOST = "lost"
    """It is damaged, or a checkpoint before it is."""
    UNTRAINED = "untrained"
    """The slice was added, and its stage is to be trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One slice of a shard, and the checkpoint of its stage."""

    samples: int
    checkpoint: CheckpointState
    is_served: bool
    """Whether predictions are made from this checkpoint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GridRow:
    """One shard."""

    shard: int
    samples: int
    state: ShardState
    weights_sha256: str | None
    open_requests: int
    """Requests that are not exact in this shard yet."""
    accuracy: float | None
    """Accuracy of the shard's constituent alone; None if it was not measured."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """All shards of a generation."""

    slices: int
    rows: tuple[GridRow, ...]

    @property
    def states(self) -> dict[ShardState, int]:
        """Return the number of shards in each state."""
        return {state: sum(row.state is state for row in self.rows) for state in ShardState}

    @property
    def checkpoints(self) -> dict[CheckpointState, int]:
        """Return the number of checkpoints in each state."""
        states = [cell.checkpoint for row in self.rows for cell in row.cells]
        return {state: states.count(state) for state in CheckpointState}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """Work that the published lineages do not contain yet."""

    touched: Mapping[int, Mapping[str, int]]
    """Shard -> waiting request -> the earliest slice that the request touches."""
    lost: Mapping[int, int]
    """Shard -> the first stage with damaged files."""

    def requests(self, shard: int) -> Mapping[str, int]:
        """Return the requests that wait for a shard, and the earliest slice of each."""
        return self.touched.get(shard, {})


def grid_of(
    generation: Generation, receipts: Iterable[Receipt], events: Iterable[Event], accuracy: Mapping[int, float]
) -> Grid:
    """Describe the shards of a generation.

    Args:
        generation: The current one.
        receipts: Those of all requests.
        events: All events of the run.
        accuracy: Shard -> accuracy of its constituent alone, if it was measured.
    """
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
    """Apply the events, and return the changes that no generation contains yet."""
    touched: dict[int, dict[str, int]] = {}
    lost: dict[int, int] = {}
    unpublished: list[RepairReport] = []
    for event in events:
        match event:
            case RevocationsAccepted(requests=requests):
                for request in requests:
                    for part in request.forget:
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
    """Describe the slices of a shard. `is_purged` says whether the requests in its debt are purged."""
    touched_from = min(pending.requests(lineage.shard).values(), default=lineage.slices)
    lost_from = pending.lost.get(lineage.shard, lineage.slices)

    untrained_from = lineage.slices if lineage.untrained_from is None else lineage.untrained_from

    def state(stage: int, checkpoint: CheckpointRef | None) -> CheckpointState:
        if stage >= untrained_from:
            return CheckpointState.UNTRAINED
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
