"""Stages that are trained, and what each leaves in the run."""

import time
from collections.abc import Collection, Generator
from dataclasses import dataclass, replace

from raymu.core.commands import RepairShard
from raymu.core.partition import descent_digest
from raymu.core.records import CheckpointRef, FileRef, Remedy
from raymu.errors import FileCorrupt, FileUnreadable
from raymu.service.shard.files import StateCache
from raymu.service.shard.messages import StageProgress, TrainCommand
from raymu.store.run import RunStore
from raymu.training.batches import ShardSamples
from raymu.training.spec import TrainingSpec
from raymu.training.stages import StageResult, StageTask, StageTrainer


@dataclass(frozen=True, kw_only=True, slots=True)
class StageResults:
    """What training some stages left behind. seconds: of compute; determinism: the class of the last one, as JSON"""

    checkpoints: tuple[CheckpointRef, ...] = ()
    updates: tuple[FileRef | None, ...] = ()
    passes: float = 0.0
    seconds: float = 0.0
    determinism: str = ""
    earlier_classes: tuple[str, ...] = ()

    @property
    def files(self) -> frozenset[FileRef]:
        return frozenset({*(one.file for one in self.checkpoints), *filter(None, self.updates)})

    def and_then(self, later: "StageResults") -> "StageResults":
        """With the stages that were trained next."""
        return replace(
            later,
            checkpoints=self.checkpoints + later.checkpoints,
            updates=self.updates + later.updates,
            passes=self.passes + later.passes,
            seconds=self.seconds + later.seconds,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PartialReport:
    """The stages that are done of a command which is not. determinism: the class of the worker that was at it, as JSON"""

    command_id: str
    determinism: str
    trained: StageResults


def find_partial(store: RunStore, command_id: str) -> PartialReport | None:
    """None too where its file is not what was written, or cannot be read: it only spares work."""
    try:
        return store.reports.find_partial(PartialReport, command_id)
    except (FileCorrupt, FileUnreadable):
        return None


def resume_stages(
    store: RunStore,
    command_id: str,
    samples: ShardSamples,
    stages: range,
    *,
    determinism: str,
    kept: Collection[FileRef],
) -> StageResults:
    """What is done already of a command; nothing where not all of it can be gone on from, and then it is destroyed.

    samples: that the command is to train on; stages: that it is to train; determinism: the class of this worker, as JSON,
    since a mixture would be exact in none; kept: files that stay, whatever an interim report names
    """
    interim = find_partial(store, command_id)
    if interim is None:
        return StageResults()
    if interim.determinism == determinism and _is_sound(store, interim.trained, samples, stages):
        return interim.trained
    store.destroy(interim.trained.files.difference(kept))
    return StageResults()


def _is_sound(store: RunStore, trained: StageResults, samples: ShardSamples, stages: range) -> bool:
    """Whether these are the first of the stages, trained on these samples and no others, and all that they left is there."""
    numbers = [one.stage for one in trained.checkpoints]
    descents = [descent_digest(samples.up_to(number).hashes, key=store.keys.hash_key) for number in numbers]
    if numbers != list(stages[: len(numbers)]) or descents != [one.descent for one in trained.checkpoints]:
        return False
    try:
        return not any(store.files.damage(sorted(trained.files, key=lambda file: file.path)))
    except FileUnreadable:
        return False


class StageWriter:
    """Has stages trained, and writes the checkpoint of each before the next one begins."""

    def __init__(self, store: RunStore, plan: TrainingSpec, files: StateCache, train: StageTrainer) -> None:
        """train: who trains stages"""
        self._store, self._config = store, store.config
        self._plan, self._files, self._train_on = plan, files, train

    def train(
        self, samples: ShardSamples, command: TrainCommand | RepairShard, *, determinism: str
    ) -> Generator[StageProgress, None, StageResults]:
        """Have the stages that a command asks for trained, each with its checkpoint written through.

        It goes on after those that were trained when the command broke off. determinism: of this worker, as JSON
        """
        whole = range(_first_stage(command), len(self._plan.epochs))
        kept = command.lineage.files if isinstance(command, RepairShard) else frozenset[FileRef]()
        done = resume_stages(self._store, command.command_id, samples, whole, determinism=determinism, kept=kept)
        stages = StageTask(
            spec=self._plan,
            shard=command.shard,
            samples=samples,
            first=whole.start + len(done.checkpoints),
            checkpoint=self._checkpoint_before(command, done),
            contributions=self._config.unlearning.contributions,
            device=self._config.device,
            threads=self._config.cluster.threads,
        )
        for trained in self._train_on(stages):
            stage = self._written(trained, samples, command.shard)
            done = done.and_then(stage)
            if trained.stage < whole[-1]:  # else the report comes next
                self._store.reports.write_partial(
                    PartialReport(command_id=command.command_id, determinism=determinism, trained=done)
                )
            yield StageProgress(
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
        if interim := find_partial(self._store, command.command_id):
            self._store.destroy(interim.trained.files - command.lineage.files)

    def _checkpoint_before(self, command: TrainCommand | RepairShard, done: StageResults) -> bytes | None:
        """The state to start from. Raises FileMissing, FileCorrupt."""
        if done.checkpoints:
            return self._files.read(done.checkpoints[-1].file)
        first = _first_stage(command)
        if isinstance(command, TrainCommand) or not first:
            return None
        restored = command.lineage.checkpoints[first - 1]
        assert restored is not None, "checkpoints below the earliest touched slice are sound"
        return self._files.read(restored.file)

    def _written(self, trained: StageResult, samples: ShardSamples, shard: int) -> StageResults:
        """One stage, written through."""
        started = time.perf_counter()
        number, log = trained.stage, trained.updates
        file = self._files.write(shard, f"stage-{number}", trained.checkpoint)
        descent = descent_digest(samples.up_to(number).hashes, key=self._store.keys.hash_key)
        weights = trained.weights_sha256
        updates = self._files.write(shard, f"updates-{number}", log) if log else None
        return StageResults(
            checkpoints=(CheckpointRef(stage=number, file=file, weights_sha256=weights, descent=descent),),
            updates=(updates,),
            passes=trained.passes,
            seconds=trained.seconds + time.perf_counter() - started,
            determinism=trained.determinism,
            earlier_classes=trained.earlier_classes,
        )


def _first_stage(command: TrainCommand | RepairShard) -> int:
    return command.earliest_slice if isinstance(command, RepairShard) else 0
