"""The approximate remedies of one shard: patch, patch and fine-tune, patch and replay."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from raymu.config import UnlearningConfig
from raymu.config.unlearning import Contributions
from raymu.core.arrays import Mask
from raymu.core.commands import RepairShard
from raymu.core.partition import derive_seed, epoch_order
from raymu.core.records import CheckpointRef, FileRef, Remedy
from raymu.core.remedies import FORWARD_SHARE, MOST_UNSEEN
from raymu.errors import PatchFailed
from raymu.service.shard.files import StateFiles
from raymu.training.batches import ShardSamples
from raymu.training.calibration import calibrate
from raymu.training.classifier import Classifier
from raymu.training.contributions import CONTRIBUTIONS, UNBOUNDED, ContributionsTask, Logs
from raymu.training.patch import PatchResult, fine_tune, require_finite, subtract
from raymu.training.recorded_updates import UpdateLog
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Patch:
    """A patched state."""

    trainer: ShardTrainer
    updates: tuple[FileRef | None, ...]
    """Updates of each stage, rewritten without the subtracted rows."""
    passes: float
    """Sample passes."""
    seconds: float
    """Compute time."""
    forget_loss: float
    """Mean loss on the forget set."""
    unseen_loss: float | None
    """Mean loss on the forget set of models that never saw it; None without calibration."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _PatchTask:
    """Everything that one patch works on."""

    trainer: ShardTrainer
    """It has the state to patch."""
    forget: ShardSamples
    retain: ShardSamples
    unseen: ShardSamples | None
    """Samples of another shard, by which fine-tuning ends."""
    logs: Logs
    unseen_loss: float | None
    """Mean loss on the forget set of models that never saw it; None without calibration."""


class ShardPatcher:
    """Patches one shard for one command."""

    def __init__(
        self,
        spec: TrainingSpec,
        config: UnlearningConfig,
        command: RepairShard,
        files: StateFiles,
        *,
        device: torch.device,
    ) -> None:
        self._spec, self._config, self._command, self._files, self._device = spec, config, command, files, device
        self._slices = command.lineage.slices
        self._passes = 0.0

    def patch(self, forget: ShardSamples, retain: ShardSamples, unseen: ShardSamples | None) -> Patch:
        """Carry out the command's remedy.

        Args:
            forget: The forget set.
            retain: The other samples of the shard.
            unseen: Samples of another shard. Fine-tuning ends by their loss.

        Raises:
            PatchFailed: The shard has to be retrained.
        """
        started = time.perf_counter()
        lineage = self._command.lineage
        unseen_loss = self._unseen_loss(forget) if self._config.calibration else None
        is_replay = self._command.decision.remedy is Remedy.REPLAY
        trainer = self._restore(lineage.checkpoints[self._base] if is_replay else lineage.serving)
        trainer.fit_encoder(retain)  # its statistics may include forgotten samples
        logs = self._logs(range(self._base + 1 if is_replay else self._slices))
        has_scale = CONTRIBUTIONS[self._config.contributions].influence is not None
        is_measured = has_scale and self._config.curvature.calibration_samples > 0
        carry_out = self._by_influence if is_measured else self._by_loss
        task = _PatchTask(
            trainer=trainer, forget=forget, retain=retain, unseen=unseen, logs=logs, unseen_loss=unseen_loss
        )
        forget_loss = carry_out(task)
        require_finite(trainer.classifier)
        updates = tuple(self._rewrite(stage, logs.get(stage)) for stage in range(self._slices))
        return Patch(
            trainer=trainer,
            updates=updates,
            passes=self._passes,
            seconds=time.perf_counter() - started,
            forget_loss=forget_loss,
            unseen_loss=unseen_loss,
        )

    @property
    def _base(self) -> int:
        """Return the stage whose checkpoint is replayed from."""
        return self._slices - 1 - self._config.ohs.slices

    def _by_influence(self, task: _PatchTask) -> float:
        """Subtract contributions once, at a strength on their own scale: it does not depend on what training does next.

        Returns:
            The mean loss that is left on the forget set.
        """
        trainer, forget, retain, unseen_loss = task.trainer, task.forget, task.retain, task.unseen_loss
        match self._command.decision.remedy:
            case Remedy.REPLAY:
                seen = forget.up_to(self._base)
                if len(seen):
                    kept, aim = retain.up_to(self._base), self._aim_of(seen, forget, unseen_loss)
                    self._subtract(trainer, self._config.contributions, seen, kept, task.logs, aim)
                self._replay(trainer, retain)
                self._passes += len(forget) * FORWARD_SHARE
                return trainer.classifier.mean_loss(forget.features, forget.labels)
            case Remedy.FINE_TUNE:
                self._fine_tune(trainer, retain, task.unseen)
        return self._subtract(trainer, self._config.contributions, forget, retain, task.logs, unseen_loss).forget_loss

    def _by_loss(self, task: _PatchTask) -> float:
        """Subtract contributions by the forget set's own loss, and again after training, which brings the samples back.

        Returns:
            The mean loss that is left on the forget set.
        """
        trainer, forget, retain, unseen_loss = task.trainer, task.forget, task.retain, task.unseen_loss
        remedy = self._command.decision.remedy
        seen = forget.up_to(self._base) if remedy is Remedy.REPLAY else forget
        result: PatchResult | None = None
        if len(seen):  # else the replayed checkpoint saw nothing that is to be forgotten
            aim = self._aim_of(seen, forget, unseen_loss)
            result = self._subtract(trainer, self._config.contributions, seen, retain, task.logs, aim)
        match remedy:
            case Remedy.FINE_TUNE:
                self._fine_tune(trainer, retain, task.unseen)
                result = self._calibrate_last(trainer, forget, retain, unseen_loss)
            case Remedy.REPLAY:
                self._replay(trainer, retain)
                result = self._calibrate_last(trainer, forget, retain, unseen_loss)
        assert result is not None, "only a replay may have nothing to subtract"
        return result.forget_loss

    def _aim_of(self, seen: ShardSamples, forget: ShardSamples, unseen_loss: float | None) -> float | None:
        """Return the unseen loss of a part of the forget set. It is known if the part is all of it."""
        return unseen_loss if unseen_loss is None or len(seen) == len(forget) else self._unseen_loss(seen)

    def _replay(self, trainer: ShardTrainer, retain: ShardSamples) -> None:
        trainer.reset_optimizer()
        for stage in range(self._base + 1, self._slices):
            self._passes += trainer.train_stage(retain, stage)

    def _restore(self, checkpoint: CheckpointRef | None) -> ShardTrainer:
        assert checkpoint is not None, "the planner replays only if the checkpoint exists"
        trainer = ShardTrainer(self._spec, self._command.shard, self._device)
        trainer.load(self._files.read(checkpoint.file), source=checkpoint.file.path)
        return trainer

    def _subtract(
        self,
        trainer: ShardTrainer,
        contributions: Contributions,
        forget: ShardSamples,
        retain: ShardSamples,
        logs: Logs,
        unseen_loss: float | None,
    ) -> PatchResult:
        """Subtract contributions: calibrated to the unseen loss, or once and whole without one."""
        method, classifier, settings = CONTRIBUTIONS[contributions], trainer.classifier, self._config.curvature
        is_drawn = np.zeros(len(retain), dtype=bool)
        if method.influence and unseen_loss is not None:
            is_drawn = self._draw(retain, settings.calibration_samples - len(forget))
        task = ContributionsTask(
            classifier=classifier,
            retain=retain.where(~is_drawn),
            trained=len(forget) + len(retain),
            logs=logs,
            rate=self._spec.training.learning_rate,
            curvature=settings,
            seed=derive_seed(self._spec.seed, self._command.shard, "curvature"),
        )
        contribute = method.prepare(task)
        if unseen_loss is None:
            result = subtract(classifier, contribute, forget, retain)
        elif method.influence is None:
            result = calibrate(classifier, contribute, forget, retain, unseen_loss=unseen_loss)
        else:
            drawn = retain.where(is_drawn)
            result = calibrate(
                classifier,
                contribute,
                forget,
                retain,
                unseen_loss=self._unseen_loss(ShardSamples.joined([forget, drawn])) if len(drawn) else unseen_loss,
                steps=settings.steps,
                bounds=method.influence if settings.calibration_samples else UNBOUNDED,
                drawn=drawn,
            )
        self._passes += result.passes
        return result

    def _draw(self, retain: ShardSamples, count: int) -> Mask:
        """Draw samples that the aim of a calibration has not seen, a quarter of them at most. Returns (samples,) bool."""
        first = 0 if self._command.references else self._command.earliest_slice
        candidates = np.flatnonzero(retain.slices >= first)
        count = min(max(count, 0), len(candidates) // 4)
        order = epoch_order(
            retain.hashes[candidates], seed=derive_seed(self._spec.seed, self._command.shard, "strength")
        )
        is_drawn = np.zeros(len(retain), dtype=bool)
        is_drawn[candidates[order[:count]]] = True
        return is_drawn

    def _calibrate_last(
        self, trainer: ShardTrainer, forget: ShardSamples, retain: ShardSamples, unseen_loss: float | None
    ) -> PatchResult:
        """Calibrate again. Recorded updates are subtracted once and never again, so a gradient step stands in for them."""
        if unseen_loss is None:
            loss = trainer.classifier.mean_loss(forget.features, forget.labels)
            return PatchResult(passes=len(forget) * FORWARD_SHARE, strength=0.0, forget_loss=loss)
        contributions = self._config.contributions
        if contributions.is_recorded:
            contributions = Contributions.GRADIENT
        return self._subtract(trainer, contributions, forget, retain, {}, unseen_loss)

    def _fine_tune(self, trainer: ShardTrainer, retain: ShardSamples, unseen: ShardSamples | None) -> None:
        settings, ohs = self._spec.training, self._config.ohs
        tail = retain.where(retain.slices >= self._slices - ohs.slices)
        if unseen is not None:
            is_drawn = np.zeros(len(unseen), dtype=bool)
            is_drawn[unseen.hashes.argsort()[:MOST_UNSEEN]] = True
            unseen = unseen.where(is_drawn) if len(unseen) else None
        self._passes += fine_tune(
            trainer,
            tail,
            unseen,
            rate=settings.learning_rate * settings.stage_decay ** (self._slices - 1),
            epochs=ohs.epochs,
            seed=derive_seed(self._spec.seed, self._command.lineage.serving.weights_sha256, "fine_tune"),
        )

    def _unseen_loss(self, forget: ShardSamples) -> float:
        """Compute the mean loss on the forget set of models that never saw it: other shards', or an untouched checkpoint."""
        models = [reference.checkpoint for reference in self._command.references]
        first = self._command.earliest_slice
        if not models and any(self._command.lineage.slice_samples[:first]):
            models = [checkpoint for checkpoint in self._command.lineage.checkpoints[first - 1 : first] if checkpoint]
        losses = []
        for checkpoint in models:
            payload = self._files.read(checkpoint.file)
            model = Classifier.restore(payload, self._spec, device=self._device, source=checkpoint.file.path)
            losses.append(model.mean_loss(forget.features, forget.labels))
        if not losses:
            raise PatchFailed("all models that are left have seen these samples, so the patch cannot be calibrated")
        self._passes += len(losses) * len(forget) * FORWARD_SHARE
        return sum(losses) / len(losses)

    def _logs(self, stages: range) -> dict[int, UpdateLog]:
        refs = {stage: self._command.lineage.updates[stage] for stage in stages}
        return {stage: UpdateLog.load(self._files.read(ref), source=ref.path) for stage, ref in refs.items() if ref}

    def _rewrite(self, stage: int, log: UpdateLog | None) -> FileRef | None:
        """Write a stage's updates without the subtracted rows.

        A replayed stage has none, since its updates no longer add up to the weights.
        """
        return self._files.write(self._command.shard, f"updates-{stage}", log.dump()) if log else None
