"""The records that the floors share: what a sample, a shard's state, a generation and a remedy are."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

SampleId: TypeAlias = int | str


class Remedy(StrEnum):
    """What is done to one shard; only RETRAIN is exact, and that within one determinism class."""

    RETRAIN = "retrain"
    PATCH = "patch"
    FINE_TUNE = "patch_and_fine_tune"
    REPLAY = "patch_and_replay"


class Exactness(StrEnum):
    """EXACT: as trained from scratch without the forgotten samples, bit for bit. APPROXIMATE: patched, and not retrained yet.

    INCONCLUSIVE: retrained, in another determinism class than earlier stages: no training from scratch has its bits.
    """

    EXACT = "exact"
    INCONCLUSIVE = "inconclusive"
    APPROXIMATE = "approximate"


class ShardState(StrEnum):
    """What a shard serves in a generation."""

    EXACT = "exact"
    INCONCLUSIVE = "inconclusive"
    APPROXIMATE = "approximate"
    REWOUND = "rewound"
    ABSTAINING = "abstaining"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRef:
    """A file of the run by its content. path: relative to the run directory; sha256: hex of the bytes."""

    path: str
    sha256: str
    byte_size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointRef:
    """The state after a stage. weights_sha256: hex over what predictions are made from (not the optimizer's state)."""

    stage: int
    file: FileRef
    weights_sha256: str
    descent: str
    """Keyed digest of the samples that the state descends from: those trained on, forgotten ones too after a patch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardLineage:
    """What a shard has: its retained samples, the checkpoints that are still sound, and the state it serves."""

    shard: int
    table: FileRef
    """The run's own copy of the retained samples."""
    slice_samples: tuple[int, ...]
    """Retained samples of each slice."""
    checkpoints: tuple[CheckpointRef | None, ...]
    """By stage; None where the checkpoint is destroyed."""
    updates: tuple[FileRef | None, ...]
    """Recorded contributions by stage; None where nothing is recorded or left."""
    serving: CheckpointRef
    """The repaired state: the last stage's checkpoint, or a patched one."""
    tainted_from: int | None
    """Earliest slice whose stage still needs exact retraining; None without debt."""
    debts: tuple[str, ...]
    """Requests that this shard has only patched."""
    seconds_per_pass: float
    """Measured seconds of one sample pass (forward, backward and step) of this shard."""
    earlier_classes: tuple[str, ...] = ()
    """Determinism classes, as JSON, of stages that the last retraining built on and did not share the class of."""

    def __post_init__(self) -> None:
        if not len(self.slice_samples) == len(self.checkpoints) == len(self.updates):
            raise ValueError(f"shard {self.shard}: slices, checkpoints and updates differ in number")
        if (self.tainted_from is None) != (not self.debts):
            raise ValueError(f"shard {self.shard}: tainted_from {self.tainted_from} with debts {self.debts}")
        if self.tainted_from is not None and any(self.checkpoints[self.tainted_from :]):
            raise ValueError(f"shard {self.shard}: a checkpoint from stage {self.tainted_from} on is tainted")

    @property
    def slices(self) -> int:
        return len(self.slice_samples)

    @property
    def samples(self) -> int:
        return sum(self.slice_samples)

    @property
    def exactness(self) -> Exactness:
        if self.tainted_from is not None:
            return Exactness.APPROXIMATE
        return Exactness.INCONCLUSIVE if self.earlier_classes else Exactness.EXACT

    @property
    def files(self) -> frozenset[FileRef]:
        """Every file that this state needs."""
        checkpoints = (self.serving, *self.checkpoints)
        states = frozenset(ref.file for ref in checkpoints if ref) | frozenset(ref for ref in self.updates if ref)
        return states | {self.table}


@dataclass(frozen=True, kw_only=True, slots=True)
class Constituent:
    """What one shard contributes to a generation. checkpoint: None where it abstains."""

    shard: int
    state: ShardState
    checkpoint: CheckpointRef | None
    stages_trained: int
    samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """One published, immutable set of constituent states, with the lineage that it was made from."""

    number: int
    previous_sha256: str
    """Of the generation's file before this one; empty for the first."""
    cause: str
    """train, rewind, repair, settle or rebuild."""
    request_ids: tuple[str, ...]
    published_at: datetime
    constituents: tuple[Constituent, ...]
    lineages: tuple[ShardLineage, ...]
