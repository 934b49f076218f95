"""What passes between a coordinator and its shards, besides the records of the core."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from raymu.core.commands import RepairReport, RepairShard
from raymu.core.records import FileRef, Remedy, SampleId, ShardLineage


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainCommand:
    """Command: train a shard from scratch. table: its samples; term: of the coordinator that asks"""

    shard: int
    table: FileRef
    term: int

    @property
    def command_id(self) -> str:
        return train_id(self.shard)


def train_id(shard: int) -> str:
    return f"train-{shard:04d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairTask:
    """A repair command with the ids that it is about, which only the journal knows.

    unseen_forgotten: revoked samples of the first reference's shard, which may not serve as unseen samples
    term: of the coordinator that asks: the worker writes nothing once there is a later one
    """

    command: RepairShard
    forget: frozenset[SampleId]
    unseen_forgotten: frozenset[SampleId]
    term: int

    @property
    def shard(self) -> int:
        return self.command.shard

    @property
    def command_id(self) -> str:
        return self.command.command_id


Work: TypeAlias = TrainCommand | RepairTask


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetLoad:
    """at_work: the shards that workers are at; waiting, done: how many pieces, since the fleet last had nothing to do"""

    at_work: tuple[int, ...]
    waiting: int
    done: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StageProgress:
    """Progress: one stage of a shard is done, or a patch. first, stages: where this piece of work begins, and how many it has

    Work that broke off may be told of again from its first stage, or go on.
    """

    shard: int
    stage: int
    first: int
    stages: int
    remedy: Remedy | None
    """None while the run is trained."""
    passes: float
    seconds: float
    load: FleetLoad | None = None
    """Of the fleet that the work is a part of; None where nobody keeps account of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport:
    """A shard is trained. seconds: of compute; determinism: the class, as JSON"""

    lineage: ShardLineage
    passes: float
    seconds: float
    determinism: str

    @property
    def command_id(self) -> str:
        return train_id(self.lineage.shard)


WorkReport: TypeAlias = TrainReport | RepairReport
Progress: TypeAlias = Callable[[StageProgress], None]


def no_progress(_stage: StageProgress) -> None:
    """Ignore all progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardLocation:
    """The actor that holds a shard's checkpoints: at work on it, or as it left them. node: its name, as Ray has it"""

    node: str
    node_id: str
    device: str
    """The GPU's name, or the CPU capability, as in the determinism class."""
    gpus: tuple[str, ...]
    """Ray's numbers of the node's GPUs that it may use, a part of one too."""
    workers: int
    """Who train the shard: where there are several, they are up during a training only, on nodes and devices of their own."""
    is_at_work: bool


ShardLocations: TypeAlias = Mapping[int, ShardLocation]
"""By shard; a shard that is not there lies in the run's directory only."""
