"""One repetition of a remedy: train the model before the request, and repair it as the run repaired its shard."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from raymu.core.commands import CalibrationReference, Decision, RepairShard
from raymu.core.records import CheckpointRef, FileRef, Remedy, ShardLineage
from raymu.errors import PatchFailed, RaymuError, TrainingFailed
from raymu.service.shard.shard_patcher import ShardPatcher
from raymu.training.audit.remedy import AuditedRemedy, AuditedRepair
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import AuditedModel, audited_model, control_model, train_model
from raymu.training.batches import ShardSamples
from raymu.training.determinism import choose_device, deterministic
from raymu.training.stages import StageTask, train_stages
from raymu.training.trainer import ShardTrainer

_NO_TABLE = FileRef(path="", sha256="", byte_size=0)
"""Stands for the table of samples: they are at hand."""


def train_audited(
    samples: AuditSamples, kind: ModelKind, number: int, remedy: AuditedRemedy | None = None
) -> AuditedModel:
    """Train one model of an audit. The result depends on the arguments alone.

    Args:
        samples: Samples of the shard.
        kind: Kind of the model.
        number: Number of the model.
        remedy: What is done to a model before the request. Such a model comes with its control, and with the remedied
            model if there is a repair. The other kinds ignore it.

    Raises:
        DeviceUnavailable: This machine lacks the configured device.
    """
    if remedy is None or kind is not ModelKind.BEFORE:
        return train_model(samples, kind, number)
    repetition = _Repetition(samples, remedy, number)
    before = repetition.train()
    return replace(
        before,
        control=control_model(samples, before, remedy.unlearning.ohs, number=number),
        # A retraining gives the oracle with the same number, which one repetition proves.
        remedied=repetition.repair() if remedy.repairs and (number == 0 or not remedy.is_retrained) else None,
    )


class MemoryFiles:
    """Files of one shard that exist in memory alone."""

    def __init__(self, payloads: Mapping[FileRef, bytes] | None = None) -> None:
        """Begin with some files, which are read from the run."""
        self._payloads: dict[FileRef, bytes] = dict(payloads or {})

    def write(self, shard: int, name: str, payload: bytes) -> FileRef:
        """Keep a file of the shard."""
        digest = hashlib.sha256(payload).hexdigest()
        ref = FileRef(path=f"shard {shard}: {name}", sha256=digest, byte_size=len(payload))
        self._payloads[ref] = payload
        return ref

    def read(self, ref: FileRef) -> bytes:
        """Return a file."""
        return self._payloads[ref]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stages:
    """Trained stages of a shard."""

    checkpoints: tuple[CheckpointRef, ...]
    updates: tuple[FileRef | None, ...]
    """Recorded updates of each stage."""
    determinism: str
    passes: float
    seconds: float


class _Repetition:
    """The shard of one repetition: its lineage, which repairs change as they change a run's."""

    def __init__(self, samples: AuditSamples, remedy: AuditedRemedy, number: int) -> None:
        self._samples, self._remedy = samples, remedy
        self._spec = samples.spec_of(ModelKind.BEFORE, number)
        self._members = samples.samples.where(samples.members(ModelKind.BEFORE, number))
        self._files = MemoryFiles()
        self._references = tuple(self._reference_files())
        self._lineage: ShardLineage | None = None

    def train(self) -> AuditedModel:
        """Train the model before the request, and keep its checkpoints and recorded updates as a run does."""
        stages = self._train(self._members, first=0, checkpoint=None)
        self._lineage = ShardLineage(
            shard=self._samples.shard,
            table=_NO_TABLE,
            slice_samples=self._slice_samples(self._members),
            checkpoints=stages.checkpoints,
            updates=stages.updates,
            serving=stages.checkpoints[-1],
            tainted_from=None,
            debts=(),
            seconds_per_pass=stages.seconds / max(stages.passes, 1.0),
        )
        return self._served(stages.passes, stages.seconds)

    def repair(self) -> AuditedModel:
        """Carry out all repairs, and return the model that the shard then serves."""
        present = self._members
        passes = seconds = 0.0
        failed_patches = 0
        for number, repair in enumerate(self._remedy.repairs):
            is_forgotten = present.isin(repair.forget)
            forget, retain = present.where(is_forgotten), present.where(~is_forgotten)
            cost: tuple[float, float] | None = None
            if repair.remedy is not Remedy.RETRAIN:
                try:
                    cost = self._patch(repair, forget, retain, command_id=f"repair {number}")
                except (PatchFailed, TrainingFailed):
                    failed_patches += 1
                except (RaymuError, OSError):
                    raise
                except Exception:  # of the model's own code: a worker retrains the shard then
                    failed_patches += 1
            own_passes, own_seconds = cost or self._retrain(repair, retain)
            passes, seconds, present = passes + own_passes, seconds + own_seconds, retain
        return replace(self._served(passes, seconds), failed_patches=failed_patches)

    def _patch(
        self, repair: AuditedRepair, forget: ShardSamples, retain: ShardSamples, *, command_id: str
    ) -> tuple[float, float]:
        """Patch with the code that patches a run. Returns sample passes and seconds. Raises PatchFailed."""
        lineage = self._present_lineage
        command = RepairShard(
            command_id=command_id,
            request_ids=(command_id,),
            lineage=lineage,
            decision=Decision(remedy=repair.remedy, reason="the audit repeats it", passes=0.0, seconds=0.0),
            earliest_slice=repair.earliest_slice,
            references=self._references,
        )
        device = choose_device(self._samples.device)
        with deterministic(
            device, self._samples.threads, self._spec.workers, self._spec.training, lane=self._spec.lane
        ) as determinism:
            patcher = ShardPatcher(self._spec, self._remedy.unlearning, command, self._files, device=device)
            patch = patcher.patch(forget, retain, self._remedy.unseen)
            patch.trainer.reset_optimizer()
            payload, weights = patch.trainer.dump(stage=lineage.slices - 1, determinism=determinism.json())
        file = self._files.write(lineage.shard, "patched", payload)
        self._lineage = lineage.patched(
            repair.earliest_slice,
            command.request_ids,
            table=_NO_TABLE,
            slice_samples=self._slice_samples(retain),
            updates=patch.updates,
            serving=replace(lineage.serving, file=file, weights_sha256=weights),
        )
        return patch.passes, patch.seconds

    def _retrain(self, repair: AuditedRepair, retain: ShardSamples) -> tuple[float, float]:
        """Train the stages from the earliest slice on again. Returns sample passes and seconds."""
        lineage, first = self._present_lineage, repair.earliest_slice
        checkpoint = lineage.checkpoints[first - 1] if first else None
        stages = self._train(retain, first=first, checkpoint=checkpoint)
        self._lineage = lineage.retrained(
            table=_NO_TABLE,
            slice_samples=self._slice_samples(retain),
            checkpoints=stages.checkpoints,
            updates=stages.updates,
            seconds_per_pass=lineage.seconds_per_pass,
        )
        return stages.passes, stages.seconds

    def _train(self, samples: ShardSamples, *, first: int, checkpoint: CheckpointRef | None) -> _Stages:
        """Train stages as a worker does."""
        audited = self._samples
        task = StageTask(
            spec=self._spec,
            shard=audited.shard,
            samples=samples,
            first=first,
            checkpoint=self._files.read(checkpoint.file) if checkpoint else None,
            contributions=self._remedy.unlearning.contributions,
            device=audited.device,
            threads=audited.threads,
        )
        results = list(train_stages(task))
        return _Stages(
            checkpoints=tuple(
                CheckpointRef(
                    stage=result.stage,
                    file=self._files.write(audited.shard, f"stage-{result.stage}", result.checkpoint),
                    weights_sha256=result.weights_sha256,
                    descent="",
                )
                for result in results
            ),
            updates=tuple(
                self._files.write(audited.shard, f"updates-{result.stage}", result.updates) if result.updates else None
                for result in results
            ),
            determinism=results[-1].determinism,
            passes=sum(result.passes for result in results),
            seconds=sum(result.seconds for result in results),
        )

    def _served(self, passes: float, seconds: float) -> AuditedModel:
        """Return the model that the shard serves."""
        device = choose_device(self._samples.device)
        with deterministic(
            device, self._samples.threads, self._spec.workers, self._spec.training, lane=self._spec.lane
        ) as determinism:
            trainer = ShardTrainer(self._spec, self._samples.shard, device)
            trainer.load(self._files.read(self._present_lineage.serving.file), source="a repeated remedy")
            model = audited_model(
                trainer, self._samples, determinism.json(), passes=passes, started=time.perf_counter()
            )
        return replace(model, seconds=seconds)

    @property
    def _present_lineage(self) -> ShardLineage:
        assert self._lineage is not None, "the model before the request is trained first"
        return self._lineage

    def _reference_files(self) -> Iterator[CalibrationReference]:
        for number, payload in enumerate(self._remedy.references):
            file = self._files.write(self._samples.shard, f"reference {number}", payload)
            checkpoint = CheckpointRef(stage=len(self._spec.epochs) - 1, file=file, weights_sha256="", descent="")
            yield CalibrationReference(shard=-1, checkpoint=checkpoint, table=_NO_TABLE)

    def _slice_samples(self, samples: ShardSamples) -> tuple[int, ...]:
        counts = np.bincount(samples.slices, minlength=len(self._spec.epochs))
        return tuple(int(count) for count in counts)
