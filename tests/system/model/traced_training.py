"""A replacement of training: a state is the list of the samples that it was trained on, stage by stage.

The real worker uses it and writes real files, and the bytes of a state show its training samples.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from unittest import mock

import torch

from raymu.config import UnlearningConfig
from raymu.core.commands import RepairShard
from raymu.core.records import FileRef, Remedy
from raymu.errors import PatchFailed
from raymu.service.shard.files import StateCache
from raymu.service.shard.shard_patcher import Patch
from raymu.training.batches import ShardSamples
from raymu.training.checkpoint_format import Later
from raymu.training.ranks import Ranks
from raymu.training.spec import TrainingSpec

Stages = list[list[int]]
"""By stage, the hashes of its samples in the order of training."""


@lru_cache(4096)
def stages_of(payload: bytes) -> Stages:
    """Return the samples that a state was trained on. Raises ValueError for an incomplete file."""
    stages: Stages = json.loads(payload)["stages"]
    return stages


class TracedTraining:
    """Replaces ShardTrainer."""

    def __init__(self, plan: TrainingSpec, shard: int, _device: torch.device, _ranks: Ranks | None = None) -> None:
        self._plan, self._shard = plan, shard
        self.spec = plan
        self._stages: Stages = []
        self._subtracted: list[str] = []  # in hexadecimal: such a hash is not among those that are trained on
        self.classifier = mock.Mock(spec=[], model=None)
        self.measures = None

    def load(self, payload: bytes, *, source: str) -> None:
        trace = json.loads(payload)
        assert trace["shard"] == self._shard, source
        self._stages, self._subtracted = trace["stages"], trace["subtracted"]

    def train_stage(self, samples: ShardSamples, stage: int, recorder: "TracedRecorder | None" = None) -> int:
        assert len(self._stages) == stage, "a stage starts from the one before it"
        hashes = samples.up_to(stage).hashes.tolist()
        self._stages = [*self._stages, hashes]
        if recorder:
            recorder.members = hashes
        return self._plan.epochs[stage] * len(hashes)

    def subtract(self, hashes: list[int]) -> None:
        assert {hex(hashed) for hashed in hashes}.isdisjoint(self._subtracted), "nothing is subtracted twice"
        self._stages = [[hashed for hashed in stage if hashed not in hashes] for stage in self._stages]
        self._subtracted = [*self._subtracted, *map(hex, hashes)]

    def dump(self, *, stage: int, determinism: str) -> tuple[bytes, str]:
        assert len(self._stages) == stage + 1
        assert determinism
        trace = {"shard": self._shard, "stages": self._stages, "subtracted": self._subtracted}
        payload = json.dumps(trace).encode()
        return payload, hashlib.sha256(payload).hexdigest()

    def snapshot(self, *, stage: int, determinism: str) -> Later[tuple[bytes, str]]:
        content = self.dump(stage=stage, determinism=determinism)
        return Later(lambda: content)

    def earlier_classes(self, _determinism: str) -> tuple[str, ...]:
        """No earlier class exists here."""
        return ()

    def reset_optimizer(self) -> None:
        """Do nothing: no optimizer exists here."""


class TracedRecorder:
    """Replaces an UpdateRecorder and its log."""

    def __init__(self, members: list[int]) -> None:
        self.members = members

    def log(self) -> "TracedRecorder":
        return self

    def dump(self) -> bytes:
        return json.dumps(self.members).encode()


def record_traced(reading: str, _model: object, *, stage: int, groups_per_slice: int | None) -> TracedRecorder | None:
    """Replace stage_recorder."""
    assert stage >= 0
    assert (groups_per_slice is None) == (reading == "gradient")
    return TracedRecorder([]) if groups_per_slice else None


class TracedPatcher:
    """Replaces ShardPatcher: reads everything that a patch reads, and subtracts samples by name."""

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

    def patch(self, forget: ShardSamples, retain: ShardSamples, unseen: ShardSamples | None) -> Patch:
        """Raises PatchFailed for every third forget set or so."""
        lineage = self._command.lineage
        forgotten = forget.hashes.tolist()
        for reference in self._command.references:
            aimed_at = stages_of(self._files.read(reference.checkpoint.file))
            assert not {hashed for stage in aimed_at for hashed in stage} & set(forgotten), (
                "it never saw the forget set"
            )
        assert (unseen is None) == (not self._command.references)
        if sum(forgotten) % 3 == 0:
            raise PatchFailed("the loss on the forget set stays below that of unseen samples")
        is_replay = self._command.decision.remedy is Remedy.REPLAY
        base = lineage.slices - 1 - (self._config.ohs.slices if is_replay else 0)
        checkpoint = lineage.checkpoints[base] if is_replay else lineage.serving
        assert checkpoint
        training = TracedTraining(self._plan, self._command.shard, self._device)
        training.load(self._files.read(checkpoint.file), source=checkpoint.file.path)
        training.subtract(forget.where(forget.slices <= base).hashes.tolist())
        for stage in range(base + 1, lineage.slices):
            training.train_stage(retain, stage)
        kept = lineage.updates[: base + 1] + (None,) * (lineage.slices - 1 - base)
        updates = tuple(self._rewritten(stage, ref, forgotten) if ref else None for stage, ref in enumerate(kept))
        # A stand-in for ShardTraining, of which the worker asks nothing more.
        traced: Any = training
        return Patch(trainer=traced, updates=updates, passes=1.0, seconds=0.01, forget_loss=1.0, unseen_loss=None)

    def _rewritten(self, stage: int, ref: FileRef, forgotten: list[int]) -> FileRef:
        members = [hashed for hashed in json.loads(self._files.read(ref)) if hashed not in forgotten]
        return self._files.write(self._command.shard, f"updates-{stage}", TracedRecorder(members).dump())


@contextmanager
def traced() -> Iterator[None]:
    """Let workers in this context write traces instead of weights."""
    with (
        mock.patch.multiple("raymu.training.stages", ShardTrainer=TracedTraining, stage_recorder=record_traced),
        mock.patch("raymu.service.shard.worker.ShardPatcher", TracedPatcher),
        mock.patch("raymu.service.shard.worker.build_optimizer"),
    ):
        yield
