"""Stages that are trained, and what each leaves in the run."""

import time
from collections.abc import Generator

from raymu.core.lineage import descent_of
from raymu.core.records import CheckpointRef, FileRef, Remedy, RepairShard
from raymu.learn.classifier import ModelPlan
from raymu.learn.samples import ShardSamples
from raymu.learn.stages import Stages, StageTrainer, TrainedStage
from raymu.service.checkpoints import SliceCheckpoints
from raymu.service.interim import InterimReport, TrainedStages, find_interim, trained_before
from raymu.service.work import StageTrained, TrainShard
from raymu.store.run import RunStore


class StageWriter:
    """Has stages trained, and writes the checkpoint of each before the next one begins."""

    def __init__(self, store: RunStore, plan: ModelPlan, files: SliceCheckpoints, train: StageTrainer) -> None:
        """train: who trains stages"""
        self._store, self._config = store, store.config
        self._plan, self._files, self._train_on = plan, files, train

    def train(
        self, samples: ShardSamples, command: TrainShard | RepairShard, *, determinism: str
    ) -> Generator[StageTrained, None, TrainedStages]:
        """Have the stages that a command asks for trained, each with its checkpoint written through.

        It goes on after those that were trained when the command broke off. determinism: of this worker, as JSON
        """
        whole = range(_first_stage(command), len(self._plan.epochs))
        kept = command.lineage.files if isinstance(command, RepairShard) else frozenset[FileRef]()
        done = trained_before(self._store, command.command_id, samples, whole, determinism=determinism, kept=kept)
        stages = Stages(
            plan=self._plan,
            shard=command.shard,
            samples=samples,
            first=whole.start + len(done.checkpoints),
            checkpoint=self._checkpoint_before(command, done),
            reading=self._config.unlearning.contributions,
            device=self._config.device,
            threads=self._config.cluster.threads,
        )
        for trained in self._train_on(stages):
            stage = self._written(trained, samples, command.shard)
            done = done.and_then(stage)
            if trained.stage < whole[-1]:  # else the report comes next
                self._store.reports.write_interim(
                    InterimReport(command_id=command.command_id, determinism=determinism, trained=done)
                )
            yield StageTrained(
                shard=command.shard,
                stage=trained.stage,
                first=whole.start,
                stages=len(whole),
                remedy=Remedy.RETRAIN if isinstance(command, RepairShard) else None,
                passes=stage.passes,
                seconds=stage.seconds,
            )
        return done

    def give_up(self, command: RepairShard) -> None:
        """Destroy the stages that were trained of it: its patch failed when it broke off, and has not failed again."""
        if interim := find_interim(self._store, command.command_id):
            self._store.destroy(interim.trained.files - command.lineage.files)

    def _checkpoint_before(self, command: TrainShard | RepairShard, done: TrainedStages) -> bytes | None:
        """The state to start from. Raises FileMissing, FileCorrupt."""
        if done.checkpoints:
            return self._files.read(done.checkpoints[-1].file)
        first = _first_stage(command)
        if isinstance(command, TrainShard) or not first:
            return None
        restored = command.lineage.checkpoints[first - 1]
        assert restored is not None, "checkpoints below the earliest touched slice are sound"
        return self._files.read(restored.file)

    def _written(self, trained: TrainedStage, samples: ShardSamples, shard: int) -> TrainedStages:
        """One stage, written through."""
        started = time.perf_counter()
        number, log = trained.stage, trained.updates
        file = self._files.write(shard, f"stage-{number}", trained.checkpoint)
        descent = descent_of(samples.up_to(number).hashes, key=self._store.keys.hash_key)
        weights = trained.weights_sha256
        updates = self._files.write(shard, f"updates-{number}", log) if log else None
        return TrainedStages(
            checkpoints=(CheckpointRef(stage=number, file=file, weights_sha256=weights, descent=descent),),
            updates=(updates,),
            passes=trained.passes,
            seconds=trained.seconds + time.perf_counter() - started,
            determinism=trained.determinism,
            earlier_classes=trained.earlier_classes,
        )


def _first_stage(command: TrainShard | RepairShard) -> int:
    return command.earliest_slice if isinstance(command, RepairShard) else 0
