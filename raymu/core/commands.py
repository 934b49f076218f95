"""what the board asks for, and the report that comes back"""

from dataclasses import dataclass
from typing import TypeAlias

from raymu.core.records import CheckpointRef, Constituent, Exactness, FileRef, Remedy, ShardLineage


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The remedy of one shard, with its reason and forecast. seconds: of compute."""

    remedy: Remedy
    reason: str
    passes: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationReference:
    """Another shard's serving state, which never saw this shard's samples. table: of its own samples"""

    shard: int
    checkpoint: CheckpointRef
    table: FileRef

    @property
    def files(self) -> frozenset[FileRef]:
        return frozenset({self.checkpoint.file, self.table})


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairShard:
    """Command: bring one shard's state past these requests. Carries an id and may arrive twice."""

    command_id: str
    request_ids: tuple[str, ...]
    lineage: ShardLineage
    decision: Decision
    earliest_slice: int
    """Retraining starts with this slice's stage: the minimum of the requests' slices and of the debt."""
    references: tuple[CalibrationReference, ...]
    """What calibration aims at; the first one's samples are unseen samples to this shard."""

    @property
    def shard(self) -> int:
        return self.lineage.shard


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairReport:
    """What a remedy did. seconds: of compute, start-up apart; losses: mean cross-entropy in nats."""

    command_id: str
    request_ids: tuple[str, ...]
    planned: Decision
    remedy: Remedy
    """The remedy carried out: RETRAIN where a patch failed."""
    reason: str
    lineage: ShardLineage
    passes: float
    seconds: float
    determinism: str
    """The determinism class, as JSON."""
    forget_loss: float | None = None
    """Of the repaired state on the forget set; only where a patch was calibrated."""
    unseen_loss: float | None = None
    """The same loss of models that never saw the forget set: the calibration's aim."""

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
    constituents: tuple[Constituent, ...]
    lineages: tuple[ShardLineage, ...]
    rewound: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Purge:
    """Command: destroy superseded files, and the raw ids of these requests. rows: how many samples those name"""

    files: frozenset[FileRef]
    request_ids: tuple[str, ...]
    rows: int


Command: TypeAlias = PublishGeneration | RepairShard | Purge
