"""Stages that are trained, and what each leaves in the run."""

import time
from collections.abc import Generator
from dataclasses import dataclass

from raymu.core.lineage import descent_of
from raymu.core.records import CheckpointRef, FileRef, Remedy
from raymu.learn.classifier import ModelPlan
from raymu.learn.samples import ShardSamples
from raymu.learn.stages import Stages, StageTrainer
from raymu.service.checkpoints import SliceCheckpoints
from raymu.service.work import StageTrained
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedStages:
    """What training some stages left behind."""

    checkpoints: tuple[CheckpointRef, ...]
    updates: tuple[FileRef | None, ...]
    passes: float
    seconds: float
    determinism: str
    earlier_classes: tuple[str, ...]


class StageWriter:
    """Has stages trained, and writes the checkpoint of each before the next one begins."""

    def __init__(self, store: RunStore, plan: ModelPlan, files: SliceCheckpoints, train: StageTrainer) -> None:
        """train: who trains stages"""
        self._config, self._hash_key = store.config, store.keys.hash_key
        self._plan, self._files, self._train_on = plan, files, train

    def train(
        self, samples: ShardSamples, shard: int, *, first: int, checkpoint: bytes | None, remedy: Remedy | None
    ) -> Generator[StageTrained, None, TrainedStages]:
        """Have the stages from `first` on trained, each with its checkpoint written through.

        checkpoint: to start from, of the stage before `first`; remedy: that this is part of
        """
        stages = Stages(
            plan=self._plan,
            shard=shard,
            samples=samples,
            first=first,
            checkpoint=checkpoint,
            reading=self._config.unlearning.contributions,
            device=self._config.device,
            threads=self._config.cluster.threads,
        )
        checkpoints: list[CheckpointRef] = []
        updates: list[FileRef | None] = []
        total_passes, total_seconds = 0.0, 0.0
        determinism, earlier_classes = "", tuple[str, ...]()
        for trained in self._train_on(stages):
            started = time.perf_counter()
            stage, log = trained.stage, trained.updates
            determinism, earlier_classes = trained.determinism, trained.earlier_classes
            file = self._files.write(shard, f"stage-{stage}", trained.checkpoint)
            descent = descent_of(samples.up_to(stage).hashes, key=self._hash_key)
            weights = trained.weights_sha256
            checkpoints.append(CheckpointRef(stage=stage, file=file, weights_sha256=weights, descent=descent))
            updates.append(self._files.write(shard, f"updates-{stage}", log) if log else None)
            seconds = trained.seconds + time.perf_counter() - started
            total_passes, total_seconds = total_passes + trained.passes, total_seconds + seconds
            yield StageTrained(
                shard=shard,
                stage=stage,
                stages=stages.end - first,
                remedy=remedy,
                passes=trained.passes,
                seconds=seconds,
            )
        return TrainedStages(
            checkpoints=tuple(checkpoints),
            updates=tuple(updates),
            passes=total_passes,
            seconds=total_seconds,
            determinism=determinism,
            earlier_classes=earlier_classes,
        )
