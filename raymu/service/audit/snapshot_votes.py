"""The votes of one shard before and after a deletion, which is carried out in memory as the run would carry it out."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from raymu.config import Device, UnlearningConfig
from raymu.core.arrays import Probabilities
from raymu.core.commands import CalibrationReference, Decision, RepairShard
from raymu.core.partition import Hashes, Indices
from raymu.core.records import FileRef, Remedy, ShardLineage
from raymu.data.rows import Rows
from raymu.errors import PatchFailed, RaymuError, TrainingFailed
from raymu.service.audit.repetition import MemoryFiles
from raymu.service.shard.shard_patcher import ShardPatcher
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.constituents import Constituents
from raymu.training.determinism import choose_device, deterministic, pinned
from raymu.training.spec import TrainingSpec
from raymu.training.stages import StageTask, train_stages


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ObservedShard:
    """A shard that samples are deleted from in memory. Nothing is written."""

    spec: TrainingSpec
    lineage: ShardLineage
    samples: ShardSamples
    """All samples that the shard has now."""
    questions: Rows
    """Features of the samples that predictions are asked for."""
    input_shape: tuple[int, ...]
    """Shape of one sample, if it is an array."""
    unlearning: UnlearningConfig
    files: Mapping[FileRef, bytes]
    """Checkpoints and recorded updates of the shard, and the checkpoints of the references."""
    references: tuple[CalibrationReference, ...]
    """What a calibration aims at; empty if nothing is patched."""
    unseen: ShardSamples | None
    """Samples of the first reference's shard, by which fine-tuning ends; None if nothing is fine-tuned."""
    device: Device
    """Configured device."""
    threads: int

    def votes(self, file: FileRef) -> Probabilities:
        """Return the votes of one of the checkpoints, (questions, classes) float32."""
        return self.votes_of(self.files[file], source=file.path)

    def votes_of(self, payload: bytes, *, source: str) -> Probabilities:
        """Return the votes of a checkpoint, (questions, classes) float32. Raises FileCorrupt, naming `source`."""
        device = choose_device(self.device)
        classifier = Classifier.restore(payload, self.spec, device=device, source=source)
        with pinned(device, self.threads):
            parts = [votes[0] for votes in Constituents([classifier], self.input_shape).batches(self.questions)]
        return np.concatenate(parts)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VotesTask:
    """One deletion from one shard. Tasks on one shard share it."""

    shard: ObservedShard
    forget: Hashes
    """(samples,) uint64, hashes of the deleted samples."""
    remedy: Remedy


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardVotes:
    """The votes of a shard after a deletion."""

    votes: Probabilities | None
    """(questions, classes) float32; None if no sample is left."""
    samples: int
    """Samples that are left."""
    is_patched: bool
    """Whether it is patched. A patch that fails is replaced by a retraining."""
    seconds: float
    """Compute time."""


def votes_after(shard: ObservedShard, forget: Hashes, remedy: Remedy) -> ShardVotes:
    """Delete samples from a shard, repair it, and ask it. The result depends on the arguments alone.

    Args:
        shard: The shard.
        forget: (samples,) uint64, hashes of the samples to delete.
        remedy: How the shard is repaired. If a patch fails, it is retrained instead, as a run's is.

    Raises:
        DeviceUnavailable: This machine lacks the configured device.
        TrainingFailed: The model cannot be trained on the samples that are left.
    """
    started = time.perf_counter()
    is_forgotten = shard.samples.isin(forget)
    forgotten, retained = shard.samples.where(is_forgotten), shard.samples.where(~is_forgotten)
    payload: bytes | None = None
    if len(retained):
        if remedy is not Remedy.RETRAIN:
            try:
                payload = _patched(shard, forgotten, retained, remedy)
            except (PatchFailed, TrainingFailed):
                payload = None
            except (RaymuError, OSError):
                raise
            except Exception:  # of the model's own code: a worker retrains the shard then
                payload = None
        is_patched = payload is not None
        payload = payload or _retrained(shard, forgotten, retained)
    else:
        is_patched = False
    return ShardVotes(
        votes=None if payload is None else shard.votes_of(payload, source=f"shard {shard.lineage.shard}"),
        samples=len(retained),
        is_patched=is_patched,
        seconds=time.perf_counter() - started,
    )


def earliest_slice(lineage: ShardLineage, slices: Indices) -> int:
    """Return the slice that a retraining without some samples begins with. slices: (samples,) their slices"""
    earliest = int(slices.min())
    return earliest if lineage.tainted_from is None else min(earliest, lineage.tainted_from)


def _retrained(shard: ObservedShard, forgotten: ShardSamples, retained: ShardSamples) -> bytes:
    """Train the stages from the earliest slice on again. Returns the last checkpoint."""
    first = earliest_slice(shard.lineage, forgotten.slices)
    checkpoint = shard.lineage.checkpoints[first - 1] if first else None
    task = StageTask(
        spec=shard.spec,
        shard=shard.lineage.shard,
        samples=retained,
        first=first,
        checkpoint=shard.files[checkpoint.file] if checkpoint else None,
        contributions=shard.unlearning.contributions,
        device=shard.device,
        threads=shard.threads,
    )
    *_, last = train_stages(task)
    return last.checkpoint


def _patched(shard: ObservedShard, forgotten: ShardSamples, retained: ShardSamples, remedy: Remedy) -> bytes:
    """Patch with the code that patches a run. Returns the patched checkpoint. Raises PatchFailed."""
    device, lineage = choose_device(shard.device), shard.lineage
    command = RepairShard(
        command_id="measured",
        request_ids=("measured",),
        lineage=lineage,
        decision=Decision(remedy=remedy, reason="an audit measures it", passes=0.0, seconds=0.0),
        earliest_slice=earliest_slice(lineage, forgotten.slices),
        references=shard.references,
    )
    with deterministic(
        device, shard.threads, shard.spec.workers, shard.spec.training, lane=shard.spec.lane
    ) as determinism:
        patcher = ShardPatcher(shard.spec, shard.unlearning, command, MemoryFiles(shard.files), device=device)
        patch = patcher.patch(forgotten, retained, shard.unseen)
        patch.trainer.reset_optimizer()
        payload, _ = patch.trainer.dump(stage=lineage.slices - 1, determinism=determinism.json())
    return payload
