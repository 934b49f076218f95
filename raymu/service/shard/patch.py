"""The approximate remedies of one shard: patch, patch and fine-tune, patch and replay."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from raymu.config import UnlearningConfig
from raymu.config.unlearning import Contributions
from raymu.core.commands import RepairShard
from raymu.core.partition import derive_seed
from raymu.core.records import CheckpointRef, FileRef, Remedy
from raymu.core.remedies import FORWARD_SHARE, MOST_UNSEEN
from raymu.errors import PatchFailed
from raymu.service.shard.files import StateCache
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.contributions import CONTRIBUTIONS, UpdateLog
from raymu.training.patch import PatchResult, calibrate, fine_tune, require_finite, subtract
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Patch:
    """A patched state. updates: of each stage, rewritten without what was subtracted; losses: mean, in nats"""

    training: ShardTrainer
    updates: tuple[FileRef | None, ...]
    passes: float
    seconds: float
    forget_loss: float
    unseen_loss: float | None


class ShardPatcher:
    """Patches one shard for one command."""

    def __init__(
        self,
        plan: TrainingSpec,
        config: UnlearningConfig,
        command: RepairShard,
        files: StateCache,
        *,
        device: torch.device,
    ) -> None:
        self._plan, self._config, self._command, self._files, self._device = plan, config, command, files, device
        self._slices = command.lineage.slices
        self._passes = 0.0

    def patch(self, forget: ShardSamples, retain: ShardSamples, unseen: ShardSamples | None) -> Patch:
        """Carry out the command's remedy. unseen: samples of another shard. Raises PatchFailed."""
        started = time.perf_counter()
        lineage = self._command.lineage
        unseen_loss = self._unseen_loss(forget) if self._config.calibration else None
        is_replay = self._command.decision.remedy is Remedy.REPLAY
        base = self._slices - 1 - self._config.ohs.slices
        training = self._restored(lineage.checkpoints[base] if is_replay else lineage.serving)
        training.fit_normalizer(retain)  # anew: its statistics may be of forgotten samples
        logs = self._logs(range(base + 1 if is_replay else self._slices))
        subtracted = forget.where(forget.slices <= base) if is_replay else forget
        reading = CONTRIBUTIONS[self._config.contributions]
        contributions = reading.contributions(training.classifier, subtracted, logs, self._plan.training.learning_rate)
        self._passes += len(subtracted)
        result = self._subtract(training, contributions, subtracted, retain, unseen_loss)
        match self._command.decision.remedy:
            case Remedy.FINE_TUNE:
                self._fine_tune(training, retain, unseen)
                result = self._calibrate_last(training, forget, retain, unseen_loss)
            case Remedy.REPLAY:
                training.reset_optimizer()
                for stage in range(base + 1, self._slices):
                    self._passes += training.train_stage(retain, stage)
                result = self._calibrate_last(training, forget, retain, unseen_loss)
        require_finite(training.classifier)
        updates = tuple(self._rewrite(stage, logs.get(stage)) for stage in range(self._slices))
        return Patch(
            training=training,
            updates=updates,
            passes=self._passes,
            seconds=time.perf_counter() - started,
            forget_loss=result.forget_loss,
            unseen_loss=unseen_loss,
        )

    def _restored(self, checkpoint: CheckpointRef | None) -> ShardTrainer:
        assert checkpoint is not None, "the planner replays only where the checkpoint is there"
        training = ShardTrainer(self._plan, self._command.shard, self._device)
        training.load(self._files.read(checkpoint.file), source=checkpoint.file.path)
        return training

    def _subtract(
        self,
        training: ShardTrainer,
        contributions: torch.Tensor,
        forget: ShardSamples,
        retain: ShardSamples,
        unseen_loss: float | None,
    ) -> PatchResult:
        if unseen_loss is None:
            result = subtract(training.classifier, contributions, forget, retain)
        else:
            result = calibrate(training.classifier, contributions, forget, retain, unseen_loss=unseen_loss)
        self._passes += result.passes
        return result

    def _calibrate_last(
        self, training: ShardTrainer, forget: ShardSamples, retain: ShardSamples, unseen_loss: float | None
    ) -> PatchResult:
        """Training after the subtraction brings forgotten samples back; a gradient step takes them out again."""
        if unseen_loss is None:
            loss = training.classifier.mean_loss(forget.features, forget.labels)
            return PatchResult(passes=len(forget) * FORWARD_SHARE, forget_loss=loss)
        gradient = CONTRIBUTIONS[Contributions.GRADIENT].contributions(
            training.classifier, forget, {}, self._plan.training.learning_rate
        )
        self._passes += len(forget)
        return self._subtract(training, gradient, forget, retain, unseen_loss)

    def _fine_tune(self, training: ShardTrainer, retain: ShardSamples, unseen: ShardSamples | None) -> None:
        settings, ohs = self._plan.training, self._config.ohs
        tail = retain.where(retain.slices >= self._slices - ohs.slices)
        if unseen is not None:
            few = np.zeros(len(unseen), dtype=bool)
            few[unseen.hashes.argsort()[:MOST_UNSEEN]] = True
            unseen = unseen.where(few) if len(unseen) else None
        self._passes += fine_tune(
            training,
            tail,
            unseen,
            rate=settings.learning_rate * settings.stage_decay ** (self._slices - 1),
            epochs=ohs.epochs,
            seed=derive_seed(self._plan.seed, self._command.lineage.serving.weights_sha256, "fine_tune"),
        )

    def _unseen_loss(self, forget: ShardSamples) -> float:
        """The mean loss on the forget set of models that never saw it: other shards', or an untouched checkpoint."""
        models = [reference.checkpoint for reference in self._command.references]
        first = self._command.earliest_slice
        if not models and any(self._command.lineage.slice_samples[:first]):
            models = [checkpoint for checkpoint in self._command.lineage.checkpoints[first - 1 : first] if checkpoint]
        losses = []
        for checkpoint in models:
            payload = self._files.read(checkpoint.file)
            model = Classifier.restore(payload, self._plan, device=self._device, source=checkpoint.file.path)
            losses.append(model.mean_loss(forget.features, forget.labels))
        if not losses:
            raise PatchFailed("there is no model that never saw these samples to calibrate by")
        self._passes += len(losses) * len(forget) * FORWARD_SHARE
        return sum(losses) / len(losses)

    def _logs(self, stages: range) -> dict[int, UpdateLog]:
        refs = {stage: self._command.lineage.updates[stage] for stage in stages}
        return {stage: UpdateLog.load(self._files.read(ref), source=ref.path) for stage, ref in refs.items() if ref}

    def _rewrite(self, stage: int, log: UpdateLog | None) -> FileRef | None:
        """A stage's updates without the subtracted rows; those of replayed stages no longer tell how the weights came."""
        return self._files.write(self._command.shard, f"updates-{stage}", log.dump()) if log else None
