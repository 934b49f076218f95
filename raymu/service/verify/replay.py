"""Training a shard again from scratch, and comparing bit for bit."""

import json
from collections.abc import Collection, Iterator

import torch

from raymu.core.records import Generation, ShardLineage
from raymu.core.verdict import Finding, fails, leaves_open
from raymu.service.shard.files import read_shard_samples
from raymu.service.shard.messages import Progress, StageProgress
from raymu.store.run import RunStore
from raymu.training.checkpoint_format import deserialize, read_metadata, weights_sha256
from raymu.training.contributions import record_stage
from raymu.training.determinism import deterministic, device_or_cpu
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer


def replay_findings(
    store: RunStore, generation: Generation, shards: Collection[int], progress: Progress
) -> Iterator[Finding]:
    """Train shards on their retained samples, and compare every checkpoint and recorded update that they have.

    Where their device is not here, none can be compared. Raises FileMissing, FileCorrupt.
    """
    config, manifest = store.config, store.manifest
    plan = TrainingSpec.of(config, input_shape=manifest.input_shape, classes=manifest.classes)
    device = device_or_cpu(config.device)
    with deterministic(device, config.cluster.threads, plan.workers) as determinism:
        for lineage in generation.lineages:
            if lineage.shard in shards:
                yield from _compared(store, lineage, plan, device, determinism.json(), progress)


def _compared(
    store: RunStore,
    lineage: ShardLineage,
    plan: TrainingSpec,
    device: torch.device,
    determinism: str,
    progress: Progress,
) -> Iterator[Finding]:
    """Up to the first stage that is another, or cannot be compared."""
    what, reading = f"shard {lineage.shard}", store.config.unlearning.contributions
    training, samples = ShardTrainer(plan, lineage.shard, device), read_shard_samples(store, lineage.table)
    for stage, (checkpoint, updates) in enumerate(zip(lineage.checkpoints, lineage.updates, strict=True)):
        if checkpoint is None:
            yield leaves_open(f"{what} has no checkpoint of stage {stage}: it was patched, and is not settled")
            return
        written = store.files.read_checked(checkpoint.file)
        if (other := read_metadata(written)["determinism"]) != determinism:
            yield leaves_open(
                f"{what} was trained in the determinism class {_class(other)}, this is {_class(determinism)}"
            )
            return
        model = training.classifier.model
        recorder = record_stage(reading, model, stage=stage, groups_per_slice=plan.groups_per_slice)
        passes = training.train_stage(samples, stage, recorder)
        payload, weights = training.dump(stage=stage, determinism=determinism)
        is_same = weights == checkpoint.weights_sha256 and _content(payload) == _content(written)
        if is_same and recorder and updates:
            is_same = _content(recorder.log().dump()) == _content(store.files.read_checked(updates))
        if not is_same:
            yield fails(f"{what} has another state at stage {stage} than training without the revoked samples gives")
            return
        progress(
            StageProgress(
                shard=lineage.shard,
                stage=stage,
                first=0,
                stages=lineage.slices,
                remedy=None,
                passes=passes,
                seconds=0.0,
            )
        )


def _content(payload: bytes) -> str:
    """Hex SHA-256 over all tensors of a file."""
    return weights_sha256(deserialize(payload, source="a state"))


def _class(determinism: str) -> str:
    return ", ".join(f"{name} {value}" for name, value in json.loads(determinism).items())
