"""Records of a run's state: files, checkpoints, a shard's lineage, and the generation that is served."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self, TypeAlias

SampleId: TypeAlias = int | str


class Remedy(StrEnum):
    """A way to repair one shard. Only RETRAIN is exact, and only within one determinism class."""

    RETRAIN = "retrain"
    PATCH = "patch"
    FINE_TUNE = "patch_and_fine_tune"
    REPLAY = "patch_and_replay"


class Exactness(StrEnum):
    """The relation of a shard's state to training from scratch without the forgotten samples, the most exact first."""

    EXACT = "exact"
    """Equal, bit for bit."""
    INCONCLUSIVE = "inconclusive"
    """Retrained, but no training from scratch is known to give its bits: its stages are of several determinism classes, or
    of code that changed, or the model's training cannot be repeated."""
    APPROXIMATE = "approximate"
    """Patched, and not retrained yet."""


class ShardState(StrEnum):
    """The state that a shard serves: its repaired state of some `Exactness`, an earlier checkpoint, or nothing."""

    EXACT = "exact"
    INCONCLUSIVE = "inconclusive"
    APPROXIMATE = "approximate"
    REWOUND = "rewound"
    ABSTAINING = "abstaining"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """An amount of work, forecast or measured."""

    passes: float
    """Sample passes: one sample forward, backward and in an optimizer step."""
    seconds: float
    """Seconds of compute, without the start of workers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRef:
    """A file of the run, known by its content."""

    path: str
    """Relative to the run directory."""
    sha256: str
    """SHA-256 of the bytes, in hex."""
    byte_size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleFiles:
    """A shard's samples in the run."""

    table: FileRef
    """The samples."""
    index: FileRef | None
    """Their index; None for a table of version 0.1, which is searched itself."""

    @property
    def files(self) -> frozenset[FileRef]:
        return frozenset(ref for ref in (self.table, self.index) if ref)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointRef:
    """The training state after a stage."""

    stage: int
    file: FileRef
    weights_sha256: str
    """SHA-256, in hex, of what predictions are made from, without the optimizer's state."""
    descent: str
    """Keyed digest of the samples that the state descends from: those trained on, forgotten ones too after a patch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardLineage:
    """The data of a shard: its retained samples, the checkpoints that are still sound, and the state it serves."""

    shard: int
    table: FileRef
    """The run's own copy of the retained samples."""
    slice_samples: tuple[int, ...]
    """Retained samples of each slice."""
    checkpoints: tuple[CheckpointRef | None, ...]
    """Checkpoint after each stage; None if it is destroyed."""
    updates: tuple[FileRef | None, ...]
    """Recorded contributions of each stage; None if nothing is recorded or left."""
    serving: CheckpointRef
    """The repaired state: the last stage's checkpoint, or a patched one."""
    tainted_from: int | None
    """Earliest slice whose stage still needs exact retraining; None without debt."""
    debts: tuple[str, ...]
    """Requests that this shard has only patched."""
    seconds_per_pass: float
    """Measured seconds of one sample pass of this shard."""
    seconds_per_stage: float = 0.0
    """Measured seconds of a stage of training beyond those of its passes; 0 if all are counted as those of passes."""
    earlier_classes: tuple[str, ...] = ()
    """Determinism classes, as JSON, of stages that the last retraining built on and did not share the class of."""
    inexact: tuple[str, ...] = ()
    """Why no training from scratch is known to give the bits of this shard's stages, one line each."""
    added_epochs: tuple[int, ...] = ()
    """Epochs of the stages of the slices that were added after the run was trained, which are the last ones."""
    index: FileRef | None = None
    """The index of the retained samples; None for a table of version 0.1, which is searched itself."""

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
    def trained_slices(self) -> int:
        """The slices that the repaired state was trained on: all, unless slices were added since."""
        return self.serving.stage + 1 if self.added_epochs else self.slices

    @property
    def untrained_from(self) -> int | None:
        """The first slice that was added and not trained yet; None without any."""
        return self.trained_slices if self.trained_slices < self.slices else None

    @property
    def exactness(self) -> Exactness:
        if self.tainted_from is not None:
            return Exactness.APPROXIMATE
        return Exactness.INCONCLUSIVE if self.earlier_classes or self.inexact else Exactness.EXACT

    @property
    def files(self) -> frozenset[FileRef]:
        """Every file that this state needs."""
        checkpoints = (self.serving, *self.checkpoints)
        states = frozenset(ref.file for ref in checkpoints if ref) | frozenset(ref for ref in self.updates if ref)
        return states | self.sample_files.files

    @property
    def sample_files(self) -> SampleFiles:
        """The retained samples, and their index."""
        return SampleFiles(table=self.table, index=self.index)

    def retrained(
        self,
        *,
        table: FileRef,
        index: FileRef | None = None,
        slice_samples: tuple[int, ...],
        checkpoints: tuple[CheckpointRef, ...],
        updates: tuple[FileRef | None, ...],
        seconds_per_pass: float,
        earlier_classes: tuple[str, ...] = (),
        inexact: tuple[str, ...] = (),
    ) -> Self:
        """Return the shard after its last stages were trained again, which leaves no debt.

        Args:
            table: The retained samples.
            index: Their index.
            slice_samples: Their number in each slice.
            checkpoints: The checkpoints of the stages that were trained again, at least one.
            updates: The recorded contributions of these stages.
            seconds_per_pass: Seconds of one sample pass, this training included.
            earlier_classes: Other determinism classes, as JSON, of the stages that were kept.
            inexact: Why the bits of these stages, or of those that were kept, cannot be repeated.
        """
        first = self.slices - len(checkpoints)
        return replace(
            self,
            table=table,
            index=index,
            slice_samples=slice_samples,
            checkpoints=self.checkpoints[:first] + checkpoints,
            updates=self.updates[:first] + updates,
            serving=checkpoints[-1],
            tainted_from=None,
            debts=(),
            seconds_per_pass=seconds_per_pass,
            earlier_classes=earlier_classes,
            inexact=inexact,
        )

    def extended(
        self,
        *,
        table: FileRef,
        index: FileRef | None = None,
        slice_samples: tuple[int, ...],
        epochs: tuple[int, ...],
    ) -> Self:
        """Return the shard with slices that are not trained yet.

        Args:
            table: The retained samples and the added ones.
            index: Their index.
            slice_samples: Number of the added samples in each added slice.
            epochs: Epochs of the stage of each added slice.
        """
        untrained = (None,) * len(epochs)
        return replace(
            self,
            table=table,
            index=index,
            slice_samples=self.slice_samples + slice_samples,
            checkpoints=self.checkpoints + untrained,
            updates=self.updates + untrained,
            added_epochs=self.added_epochs + epochs,
        )

    def patched(
        self,
        earliest_slice: int,
        request_ids: tuple[str, ...],
        *,
        table: FileRef,
        index: FileRef | None = None,
        slice_samples: tuple[int, ...],
        updates: tuple[FileRef | None, ...],
        serving: CheckpointRef,
    ) -> Self:
        """Return the shard after a patch, which taints every checkpoint that saw a forgotten sample.

        Args:
            earliest_slice: The first slice that a forgotten sample, or an earlier debt, is in.
            request_ids: The requests that are patched.
            table: The retained samples.
            index: Their index.
            slice_samples: Their number in each slice.
            updates: The recorded contributions of every stage, without those that were subtracted.
            serving: The patched state.
        """
        return replace(
            self,
            table=table,
            index=index,
            slice_samples=slice_samples,
            checkpoints=self.checkpoints[:earliest_slice] + (None,) * (self.slices - earliest_slice),
            updates=updates,
            serving=serving,
            tainted_from=earliest_slice,
            debts=(*self.debts, *request_ids),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Constituent:
    """The contribution of one shard to a generation."""

    shard: int
    state: ShardState
    checkpoint: CheckpointRef | None
    """The state that votes; None if the shard abstains."""
    stages_trained: int
    samples: int
    """Number of samples that the state has seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """One published, immutable set of constituent states, with the lineages that it was made from.

    Its file may be a record of what changed: then it has the constituents and lineages of the changed shards alone.
    """

    number: int
    previous_sha256: str
    """SHA-256 of the previous generation's file, in hex; empty for the first."""
    cause: str
    """train, rewind, repair, settle, rebuild or extend."""
    request_ids: tuple[str, ...]
    published_at: datetime
    constituents: tuple[Constituent, ...]
    lineages: tuple[ShardLineage, ...]
    base: int | None = None
    """The whole generation that this record, and all those in between, say the changes of; None if this is whole itself."""

    def then(self, *records: "Generation") -> "Generation":
        """Return the whole generation that follows from this one and the records of the next ones."""
        if not records:
            return self
        constituents = {constituent.shard: constituent for constituent in self.constituents}
        lineages = {lineage.shard: lineage for lineage in self.lineages}
        for record in records:
            constituents.update({constituent.shard: constituent for constituent in record.constituents})
            lineages.update({lineage.shard: lineage for lineage in record.lineages})
        return replace(
            records[-1], constituents=tuple(constituents.values()), lineages=tuple(lineages.values()), base=None
        )
