"""The stages of several shards of a lane, trained together: each stage of all tasks that have reached it at once."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from raymu.errors import TrainingFailed
from raymu.training.determinism import choose_device, deterministic
from raymu.training.lane import train_lane_stage
from raymu.training.lane_checks import require_lane
from raymu.training.stages import StageResult, StageTask
from raymu.training.trainer import ShardTrainer


@dataclass(kw_only=True, slots=True, eq=False)
class _Joined:
    """A task of the lane, and how far it is."""

    task: StageTask
    stage: int
    """The next stage to train."""
    trainer: ShardTrainer | None = None
    """None until its first stage is trained."""
    result: StageResult | None = None
    """The stage that is trained, until it is taken."""


class LaneStages:
    """Trains the tasks that join. As a `StageTrainer` it yields None while a task waits for the others."""

    def __init__(self, is_disturbed: Callable[[], bool] = lambda: False) -> None:
        """Begin without tasks. is_disturbed: whether other threads of this process may draw random numbers meanwhile"""
        self._is_disturbed = is_disturbed
        self._joined: list[_Joined] = []

    def __call__(self, task: StageTask) -> Generator[StageResult | None]:
        """Join with a task. Yields its stages in their order, each after the call of `train_next` that trained it."""
        joined = _Joined(task=task, stage=task.first)
        self._joined.append(joined)
        try:
            for _ in range(task.first, task.end):
                while joined.result is None:
                    yield None
                result, joined.result = joined.result, None
                yield result
                del result  # its tensors are dropped as soon as they are written
        finally:
            self._joined.remove(joined)

    @property
    def is_waiting(self) -> bool:
        """Whether a task has joined whose next stage is not trained."""
        return any(joined.result is None and joined.stage < joined.task.end for joined in self._joined)

    def train_next(self) -> None:
        """Train the earliest stage that a task has come to, of all tasks that have come to it.

        Raises:
            TrainingFailed: One of them cannot be trained; which one it is, its training alone shows.
            RaymuError: As of `train_stages`.
        """
        waiting = [joined for joined in self._joined if joined.result is None and joined.stage < joined.task.end]
        stage = min(joined.stage for joined in waiting)
        together = sorted((joined for joined in waiting if joined.stage == stage), key=lambda joined: joined.task.shard)
        results = _train_stage(together, stage)
        if self._is_disturbed():  # a thread began while the stage was trained
            raise TrainingFailed(together[0].task.shard, stage, "another thread of this process may have disturbed it")
        for joined, result in zip(together, results, strict=True):
            joined.result, joined.stage = result, stage + 1


def _train_stage(together: Sequence[_Joined], stage: int) -> list[StageResult]:
    started, task = time.perf_counter(), together[0].task
    spec, device = task.spec, choose_device(task.device)
    with deterministic(device, task.threads, spec.workers, spec.training, lane=spec.lane) as own_class:
        determinism = own_class.json()
        trainers = [_trainer(joined) for joined in together]
        require_lane(trainers[0])
        passes = train_lane_stage(trainers, [joined.task.samples for joined in together], stage)
        states = [trainer.snapshot(stage=stage, determinism=determinism) for trainer in trainers]
    seconds = (time.perf_counter() - started) / len(together)
    return [
        StageResult(
            stage=stage,
            state=state,
            recorded=None,
            passes=own_passes,
            seconds=seconds,
            determinism=determinism,
            earlier_classes=trainer.earlier_classes(determinism),
            measures=trainer.measures,
        )
        for trainer, state, own_passes in zip(trainers, states, passes, strict=True)
    ]


def _trainer(joined: _Joined) -> ShardTrainer:
    """Return the trainer of a task, in the state that its next stage begins with."""
    if joined.trainer is None:
        task = joined.task
        joined.trainer = ShardTrainer(task.spec, task.shard, choose_device(task.device))
        if task.checkpoint is not None:
            joined.trainer.load(task.checkpoint, source=f"the checkpoint of stage {task.first - 1}")
    return joined.trainer
