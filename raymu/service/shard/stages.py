"""Training of stages with their files: each is written while the next is trained, and a retry resumes after the last."""

import time
from collections.abc import Collection, Generator
from contextlib import suppress
from functools import partial

from raymu.core.commands import RepairShard, ShardCommand, TrainShard
from raymu.core.partition import descent_digest
from raymu.core.records import CheckpointRef, Cost, FileRef, Remedy
from raymu.errors import FileUnreadable
from raymu.service.shard.files import StateCache
from raymu.service.shard.messages import LaneWait, StageProgress
from raymu.service.shard.reports import PartialReport, StageResults, find_partial
from raymu.service.shard.write_behind import WriteBehind
from raymu.store.run import RunStore
from raymu.training.batches import ShardSamples
from raymu.training.spec import TrainingSpec
from raymu.training.stages import StageResult, StageTask, StageTrainer


def resume_stages(
    store: RunStore,
    command_id: str,
    samples: ShardSamples,
    stages: range,
    *,
    determinism: str,
    kept: Collection[FileRef],
) -> StageResults:
    """Find the stages of an interrupted command that a retry resumes after.

    Unless all of them can be used, none is, and their files are destroyed.

    Args:
        store: The run.
        command_id: Id of the command.
        samples: Samples to train on.
        stages: Stages to train.
        determinism: Class of this worker, as JSON. Stages of two classes together would be exact in neither.
        kept: Files that are not destroyed, whatever a partial report names.
    """
    partial = find_partial(store, command_id)
    if partial is None:
        return StageResults()
    if partial.determinism == determinism and _is_usable(store, partial.trained, samples, stages):
        return partial.trained
    store.destroy(partial.trained.files.difference(kept))
    return StageResults()


def _is_usable(store: RunStore, trained: StageResults, samples: ShardSamples, stages: range) -> bool:
    """Whether these are the first of the stages, trained on these samples and no others, with all their files undamaged."""
    numbers = [checkpoint.stage for checkpoint in trained.checkpoints]
    descents = [descent_digest(samples.up_to(number).hashes, key=store.keys.hash_key) for number in numbers]
    if numbers != list(stages[: len(numbers)]):
        return False
    if descents != [checkpoint.descent for checkpoint in trained.checkpoints]:
        return False
    try:
        return not any(store.files.damage(sorted(trained.files, key=lambda file: file.path)))
    except FileUnreadable:
        return False


class StageWriter:
    """Trains stages, and writes the checkpoint of each while the next one is trained."""

    def __init__(self, store: RunStore, files: StateCache, train_stages: StageTrainer) -> None:
        self._store, self._config = store, store.config
        self._files, self._train_stages = files, train_stages
        self._behind = WriteBehind()

    def train(
        self, samples: ShardSamples, command: ShardCommand, spec: TrainingSpec, *, determinism: str
    ) -> Generator[StageProgress | LaneWait, None, StageResults]:
        """Train the stages of a command, after those that were trained before it was interrupted.

        Args:
            samples: Samples to train on.
            command: Says which stages to train.
            spec: The settings of the training, with all stages of the run.
            determinism: Class of this worker, as JSON.

        Yields:
            Progress after each stage. Its files may still be written then: if the process ends, it is trained again.

        Returns:
            All stages of the command.
        """
        stages = range(_first_stage(command), len(spec.epochs))
        kept = command.lineage.files if isinstance(command, RepairShard) else frozenset[FileRef]()
        done = resume_stages(self._store, command.command_id, samples, stages, determinism=determinism, kept=kept)
        task = StageTask(
            spec=spec,
            shard=command.shard,
            samples=samples,
            first=stages.start + len(done.checkpoints),
            checkpoint=self._checkpoint_before(command, done),
            contributions=self._config.unlearning.contributions,
            device=self._config.device,
            threads=self._config.cluster.threads,
        )
        writer = _Writer(self._store, self._files, command, samples, determinism=determinism, done=done)
        with self._behind as behind:
            for result in self._train_stages(task):
                if result is None:
                    yield LaneWait()
                    continue
                started = time.perf_counter()
                self._store.files.fence()  # a superseded worker reports no stages
                behind.wait()
                waited_s = time.perf_counter() - started
                if result.stage == stages[-1]:
                    writer.write(result, waited_s, is_last=True)  # the report follows
                else:
                    behind.begin(partial(writer.write, result, waited_s))
                yield StageProgress(
                    shard=command.shard,
                    stage=result.stage,
                    first=stages.start,
                    stages=len(stages),
                    remedy=Remedy.RETRAIN if isinstance(command, RepairShard) else None,
                    passes=result.passes,
                    seconds=result.seconds + time.perf_counter() - started,
                    measures=result.measures,
                )
                del result  # its tensors are dropped as soon as they are written
        return writer.done

    def settle(self) -> None:
        """Wait for files of earlier work, which was abandoned while they were written. How that ended no longer matters."""
        with suppress(Exception):
            self._behind.wait()

    def discard(self, command: RepairShard) -> None:
        """Destroy stages of an earlier attempt, whose patch failed and was replaced by retraining."""
        if partial := find_partial(self._store, command.command_id):
            self._store.destroy(partial.trained.files - command.lineage.files)

    def _checkpoint_before(self, command: ShardCommand, done: StageResults) -> bytes | None:
        """Read the state to start from; None for new weights. Raises FileMissing, FileCorrupt."""
        if done.checkpoints:
            return self._files.read(done.checkpoints[-1].file)
        first = _first_stage(command)
        if isinstance(command, TrainShard) or not first:
            return None
        checkpoint = command.lineage.checkpoints[first - 1]
        assert checkpoint is not None, "checkpoints below the earliest touched slice are there"
        return self._files.read(checkpoint.file)


class _Writer:
    """Writes the files of stages, one after the other, and what an interrupted command has finished so far."""

    def __init__(
        self,
        store: RunStore,
        files: StateCache,
        command: ShardCommand,
        samples: ShardSamples,
        *,
        determinism: str,
        done: StageResults,
    ) -> None:
        self._store, self._files, self._command, self._samples = store, files, command, samples
        self._determinism = determinism
        self.done = done
        """The stages whose files are written."""

    def write(self, result: StageResult, waited_s: float, *, is_last: bool = False) -> None:
        """Write the files of one stage.

        Args:
            result: The stage.
            waited_s: Time that the work waited for files of earlier stages.
            is_last: True if the report of the command follows. The work waits for the files then.
        """
        started = time.perf_counter()
        shard, stage = self._command.shard, result.stage
        file = self._files.write(shard, f"stage-{stage}", result.checkpoint)
        updates = self._files.write(shard, f"updates-{stage}", result.updates) if result.updates else None
        checkpoint = CheckpointRef(
            stage=stage,
            file=file,
            weights_sha256=result.weights_sha256,
            descent=descent_digest(self._samples.up_to(stage).hashes, key=self._store.keys.hash_key),
        )
        seconds = result.seconds + waited_s + (time.perf_counter() - started if is_last else 0.0)
        cost = Cost(passes=result.passes, seconds=seconds)
        self.done = self.done.plus(
            StageResults(
                checkpoints=(checkpoint,),
                updates=(updates,),
                passes=cost.passes,
                seconds=cost.seconds,
                costs=(cost,),
                determinism=result.determinism,
                earlier_classes=result.earlier_classes,
            )
        )
        if not is_last:
            partial_report = PartialReport(
                command_id=self._command.command_id, determinism=self._determinism, trained=self.done
            )
            self._store.reports.write_partial(partial_report)


def _first_stage(command: ShardCommand) -> int:
    return command.earliest_slice if isinstance(command, RepairShard) else 0
