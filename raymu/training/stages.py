"""Training the stages of one shard, one after the other: here, or by several processes that each call this."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from raymu.config import Device
from raymu.training.batches import ShardSamples
from raymu.training.contributions import record_stage
from raymu.training.determinism import choose_device, deterministic
from raymu.training.ranks import Ranks, SimulatedRanks
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StageTask:
    """Stages to train: the shard's from `first` to its last.

    checkpoint: of the stage before, None where it starts anew; reading: of contributions; device, threads: as configured
    """

    plan: TrainingSpec
    shard: int
    samples: ShardSamples
    first: int
    checkpoint: bytes | None
    reading: str
    device: Device
    threads: int

    @property
    def end(self) -> int:
        return len(self.plan.epochs)

    def after(self, trained: "StageResult") -> "StageTask":
        """What is left to train."""
        return replace(self, first=trained.stage + 1, checkpoint=trained.checkpoint)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StageResult:
    """weights_sha256: of what is predicted from; updates: recorded ones; seconds: of compute

    determinism: the class, as JSON; earlier_classes: others that the stages before are of
    """

    stage: int
    checkpoint: bytes
    weights_sha256: str
    updates: bytes | None
    passes: int
    seconds: float
    determinism: str
    earlier_classes: tuple[str, ...]


StageTrainer: TypeAlias = Callable[[StageTask], Iterator[StageResult]]
"""Yields the stages in their order, each as soon as it is trained."""


def train_stages(stages: StageTask, ranks: Ranks | None = None) -> Iterator[StageResult]:
    """ranks: as many as the plan has, which all train the same stages; played here where not given.

    The first rank alone records updates. Raises DeviceUnavailable, ConfigInvalid, FileCorrupt, TrainingFailed, RankLost.
    """
    plan = stages.plan
    ranks = ranks or SimulatedRanks(plan.workers)
    device = choose_device(stages.device)
    with deterministic(device, stages.threads, plan.workers) as determinism:
        told = replace(determinism, device=ranks.devices(determinism.device)).json()
        training = ShardTrainer(plan, stages.shard, device, ranks)
        if stages.checkpoint is not None:
            training.load(stages.checkpoint, source=f"the checkpoint of stage {stages.first - 1}")
        for stage in range(stages.first, stages.end):
            started = time.perf_counter()
            recorder = None
            if 0 in ranks.own:
                model, groups = training.classifier.model, plan.groups_per_slice
                recorder = record_stage(stages.reading, model, stage=stage, groups_per_slice=groups)
            passes = training.train_stage(stages.samples, stage, recorder)
            checkpoint, weights = training.dump(stage=stage, determinism=told)
            yield StageResult(
                stage=stage,
                checkpoint=checkpoint,
                weights_sha256=weights,
                updates=recorder.log().dump() if recorder else None,
                passes=passes,
                seconds=time.perf_counter() - started,
                determinism=told,
                earlier_classes=training.earlier_classes(told),
            )
