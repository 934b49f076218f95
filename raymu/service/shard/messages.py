"""Messages between a coordinator and its shards, besides the records of the core: work, progress, reports, locations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from raymu.core.commands import RepairReport, RepairShard, TrainShard, train_id
from raymu.core.records import Remedy, SampleId, ShardLineage
from raymu.core.stage_measures import StageMeasures, StageReport
from raymu.text import duration


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainTask:
    """Work: carry out a training command."""

    command: TrainShard
    term: int
    """Term of the coordinator. The worker cannot write any more once there is a later one."""

    @property
    def shard(self) -> int:
        return self.command.shard

    @property
    def command_id(self) -> str:
        return self.command.command_id


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairTask:
    """Work: carry out a repair command, with the sample ids that only the journal has."""

    command: RepairShard
    forget: frozenset[SampleId]
    """The samples to forget."""
    unseen_forgotten: frozenset[SampleId]
    """Revoked samples of the first reference's shard, which may not serve as unseen samples."""
    term: int
    """Term of the coordinator. The worker cannot write any more once there is a later one."""

    @property
    def shard(self) -> int:
        return self.command.shard

    @property
    def command_id(self) -> str:
        return self.command.command_id


Work: TypeAlias = TrainTask | RepairTask


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetLoad:
    """The load of a fleet."""

    running: tuple[int, ...]
    """The shards that workers train or repair."""
    waiting: int
    """Pieces of work that no worker has begun."""
    done: int
    """Pieces of work that are done since the fleet was last idle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageProgress:
    """Progress: a stage is trained, or a patch is done. Interrupted work may report its stages again."""

    shard: int
    stage: int
    first: int
    """The first stage of this work."""
    stages: int
    """Number of stages of this work."""
    remedy: Remedy | None
    """None for the first training of a run."""
    passes: float
    """Sample passes of this stage."""
    seconds: float
    """Compute time of this stage."""
    measures: StageMeasures | None = None
    """What was measured in the stage; None for a patch, and if nothing was trained."""
    load: FleetLoad | None = None
    """Load of the fleet; None until a `ProgressFleet` adds it."""

    @property
    def report(self) -> StageReport:
        """The stage as callbacks get it."""
        measures = self.measures or StageMeasures()
        return StageReport(
            shard=self.shard,
            stage=self.stage,
            remedy=self.remedy,
            epochs=measures.epochs,
            passes=self.passes,
            seconds=self.seconds,
            loss=measures.loss,
            validation_loss=measures.validation_loss,
            validation_score=measures.validation_score,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RoomWait:
    """Notice: no worker can start, because others use the cluster."""

    since: datetime
    room: str
    """What a shard asks for, and how much of it is free."""

    def __str__(self) -> str:
        """Say it in one line."""
        waited = duration((datetime.now(UTC) - self.since).total_seconds())
        return f"waiting for room on the cluster since {self.since:%H:%M:%S} UTC, for {waited}: {self.room}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport:
    """Report: a shard is trained."""

    lineage: ShardLineage
    passes: float
    """Sample passes."""
    seconds: float
    """Compute time."""
    determinism: str
    """Determinism class, as JSON."""

    @property
    def command_id(self) -> str:
        return train_id(self.lineage.shard)


@dataclass(frozen=True, slots=True)
class LaneWait:
    """Notice: a shard's next stage waits for the other shards of its lane."""


WorkReport: TypeAlias = TrainReport | RepairReport
Progress: TypeAlias = Callable[[StageProgress], None]


def no_progress(_stage: StageProgress) -> None:
    """Ignore all progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardLocation:
    """The actor that has a shard's checkpoints in memory."""

    node: str
    """Its name, as Ray has it."""
    node_id: str
    device: str
    """The GPU's name, or the CPU capability, as in the determinism class."""
    gpus: tuple[str, ...]
    """Ray's numbers of the node's GPUs that it may use, in whole or in part."""
    workers: int
    """Ranks that train the shard. Several run during a training only, on nodes and devices of their own."""
    is_at_work: bool
    """Whether the actor trains or repairs the shard now. `raymu status --json` has it under this name."""


ShardLocations: TypeAlias = Mapping[int, ShardLocation]
"""Shard -> its location. A shard that is missing is only in the run's directory."""
