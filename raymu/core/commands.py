"""The commands that the board returns, and the report of a worker that carried one out."""

from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from raymu.core.prediction_change import PredictionChange
from raymu.core.records import CheckpointRef, Constituent, Cost, Exactness, FileRef, Remedy, ShardLineage


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision(Cost):
    """The remedy of one shard, why it was chosen, and its forecast cost."""

    remedy: Remedy
    reason: str
    fixed_seconds: float = 0.0
    """The part of the seconds that does not depend on the passes; 0 if it is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationReference:
    """Another shard's serving state, which never saw this shard's samples."""

    shard: int
    checkpoint: CheckpointRef
    table: FileRef
    """The other shard's retained samples."""

    @property
    def files(self) -> frozenset[FileRef]:
        return frozenset({self.checkpoint.file, self.table})


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainShard:
    """Command: train one shard from scratch. It carries an id and may arrive twice."""

    shard: int
    table: FileRef
    """The shard's samples."""
    index: FileRef | None = None
    """Their index."""

    @property
    def command_id(self) -> str:
        return train_id(self.shard)

    @property
    def references(self) -> tuple[CalibrationReference, ...]:
        """Nothing: training aims at no other shard."""
        return ()


TRAIN_PREFIX = "train-"
"""Prefix of the ids of training commands."""


def train_id(shard: int) -> str:
    return f"{TRAIN_PREFIX}{shard:04d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairShard:
    """Command: repair one shard for these requests. It carries an id and may arrive twice."""

    command_id: str
    request_ids: tuple[str, ...]
    lineage: ShardLineage
    decision: Decision
    earliest_slice: int
    """Retraining starts with this slice's stage: the minimum of the requests' slices and of the debt."""
    references: tuple[CalibrationReference, ...]
    """The models that calibration aims at. The samples of the first one serve as unseen samples."""

    @property
    def shard(self) -> int:
        return self.lineage.shard


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairOutcome(Cost):
    """The facts of one finished repair, which a worker reports and receipts repeat. The cost is measured.

    A new fact is a field here with a default, so that earlier reports and receipts can be read, and is set by the worker.
    """

    command_id: str
    remedy: Remedy
    """The remedy carried out: RETRAIN after a patch that failed."""
    reason: str
    determinism: str
    """The determinism class, as JSON."""
    forget_loss: float | None = None
    """Mean loss of the patched state on the forget set, in nats for cross-entropy; None unless it was patched."""
    unseen_loss: float | None = None
    """The same loss of models that never saw the forget set; None unless the patch was calibrated."""
    change: PredictionChange | None = None
    """How far the repair moved the shard's predictions; None if a state before or after it predicts nothing."""

    def facts(self) -> dict[str, Any]:
        """Return the fields of this record, for a record that repeats them."""
        return {field.name: getattr(self, field.name) for field in fields(RepairOutcome)}


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairReport(RepairOutcome):
    """A worker's report of a repair."""

    request_ids: tuple[str, ...]
    planned: Decision
    lineage: ShardLineage
    """The shard after the repair."""

    @property
    def shard(self) -> int:
        return self.lineage.shard

    @property
    def exactness(self) -> Exactness:
        return self.lineage.exactness


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishGeneration:
    """Command: make these constituents the ones that predictions are made from."""

    cause: str
    """train, rewind, repair, settle, rebuild, extend or release."""
    constituents: tuple[Constituent, ...]
    lineages: tuple[ShardLineage, ...]
    rewound: tuple[str, ...] = ()
    """Requests whose shards are rewound from this generation on."""
    repaired: tuple[str, ...] = ()
    """Requests that every shard is repaired for from this generation on."""
    settled: tuple[str, ...] = ()
    """Requests that some shard had patched and every shard is retrained for from this generation on."""
    changed: tuple[int, ...] | None = None
    """The shards that differ from the published generation; None if the generation has to be written whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Purge:
    """Command: destroy superseded files, and the raw ids of these requests."""

    files: frozenset[FileRef]
    request_ids: tuple[str, ...]
    rows: int
    """Number of samples that the requests name."""


ShardCommand: TypeAlias = TrainShard | RepairShard
Command: TypeAlias = PublishGeneration | Purge | ShardCommand
