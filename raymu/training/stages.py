"""Training the stages of one shard, one after the other: in one process, or in several that each call `train_stages`."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from raymu.config import Device
from raymu.config.unlearning import Contributions
from raymu.core.stage_measures import StageMeasures
from raymu.training.batches import ShardSamples
from raymu.training.checkpoint_format import Later
from raymu.training.contributions import stage_recorder
from raymu.training.determinism import choose_device, deterministic
from raymu.training.lane_checks import require_lane
from raymu.training.ranks import Ranks, SimulatedRanks
from raymu.training.recorded_updates import UpdateRecorder
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StageTask:
    """Stages to train: a shard's from `first` to its last."""

    spec: TrainingSpec
    shard: int
    samples: ShardSamples
    first: int
    """Number of the first stage to train."""
    checkpoint: bytes | None
    """Checkpoint of the stage before; None to start from new weights."""
    contributions: Contributions
    """The updates that are recorded."""
    device: Device
    """Configured device."""
    threads: int

    @property
    def end(self) -> int:
        return len(self.spec.epochs)

    def after(self, result: "StageResult") -> "StageTask":
        """Return the task without a stage that is trained, and those before it."""
        return replace(self, first=result.stage + 1, checkpoint=result.checkpoint)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StageResult:
    """One trained stage. Its files are serialised by whoever asks for them first, which may be another thread."""

    stage: int
    state: Later[tuple[bytes, str]]
    """The checkpoint, and the hash of what predictions are made from."""
    recorded: Later[bytes] | None
    """Recorded updates."""
    passes: int
    """Sample passes."""
    seconds: float
    """Compute time."""
    determinism: str
    """Determinism class, as JSON."""
    earlier_classes: tuple[str, ...]
    """Other determinism classes of the stages before, as JSON."""
    measures: StageMeasures | None = None
    """What was measured in the stage; None if the shard has no samples in it."""

    @property
    def checkpoint(self) -> bytes:
        """The file of the checkpoint."""
        return self.state.get()[0]

    @property
    def weights_sha256(self) -> str:
        """Hex, over what predictions are made from."""
        return self.state.get()[1]

    @property
    def updates(self) -> bytes | None:
        """The file of the recorded updates."""
        return None if self.recorded is None else self.recorded.get()


StageTrainer: TypeAlias = Callable[[StageTask], Iterator[StageResult | None]]
"""Yields the stages in their order, each as soon as it is trained; None while a stage waits for other shards of a lane."""


def train_stages(task: StageTask, ranks: Ranks | None = None) -> Iterator[StageResult]:
    """Train stages.

    Args:
        task: What to train.
        ranks: Ranks that train the task together, as many as the spec has workers. Simulated by default.

    Yields:
        Each stage when it is trained. Only the first rank records updates.

    Raises:
        DeviceUnavailable: The configured device is not on this machine.
        ConfigInvalid: The model cannot be built.
        FileCorrupt: The checkpoint is not one.
        TrainingFailed: The model cannot be trained on these samples.
        RankLost: Another rank does not answer.
    """
    spec = task.spec
    ranks = ranks or SimulatedRanks(spec.workers)
    device = choose_device(task.device)
    with deterministic(device, task.threads, spec.workers, spec.training, lane=spec.lane) as own_class:
        determinism = replace(own_class, device=ranks.devices(own_class.device)).json()
        trainer = ShardTrainer(spec, task.shard, device, ranks)
        if task.checkpoint is not None:
            trainer.load(task.checkpoint, source=f"the checkpoint of stage {task.first - 1}")
        require_lane(trainer)
    for stage in range(task.first, task.end):
        yield _train_stage(
            trainer, task, stage, device=device, determinism=determinism, is_recorder=0 in ranks.local_ranks
        )


def _train_stage(
    trainer: ShardTrainer, task: StageTask, stage: int, *, device: torch.device, determinism: str, is_recorder: bool
) -> StageResult:
    """Train one stage. Nothing of its result is kept: it is large, and may be dropped as soon as it is written."""
    started, spec = time.perf_counter(), task.spec
    # Not beyond a stage: other code of the process runs then.
    with deterministic(device, task.threads, spec.workers, spec.training, lane=spec.lane):
        recorder = None
        if is_recorder:
            model, groups = trainer.classifier.model, spec.groups_per_slice
            recorder = stage_recorder(task.contributions, model, stage=stage, groups_per_slice=groups)
        passes = trainer.train_stage(task.samples, stage, recorder)
        state = trainer.snapshot(stage=stage, determinism=determinism)
        recorded = None if recorder is None else _recorded(recorder, device)
    return StageResult(
        stage=stage,
        state=state,
        recorded=recorded,
        passes=passes,
        seconds=time.perf_counter() - started,
        determinism=determinism,
        earlier_classes=trainer.earlier_classes(determinism),
        measures=trainer.measures,
    )


def _recorded(recorder: UpdateRecorder, device: torch.device) -> Later[bytes]:
    """Return the file of recorded updates. Those on another device are brought here first, to make room there."""
    if device.type == "cpu":
        return Later(lambda: recorder.log().dump())
    log = recorder.log()
    return Later(lambda: log.dump())
