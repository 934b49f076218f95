"""Replay: training shards again from scratch, and comparing every bit with the stored states."""

import json
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial

import torch

from raymu.core.findings import FindingKind
from raymu.core.records import Generation, ShardLineage
from raymu.core.verdict import Finding, fails, leaves_open
from raymu.service.phase import begin_phase
from raymu.service.run_code import inexact_reasons
from raymu.service.run_spec import spec_of
from raymu.service.shard.files import read_shard_samples
from raymu.service.shard.messages import FleetLoad, Progress, StageProgress
from raymu.store.run import RunStore
from raymu.training.checkpoint_format import deserialize, read_metadata, weights_sha256
from raymu.training.contributions import stage_recorder
from raymu.training.determinism import deterministic, device_or_cpu
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer


def replay_findings(
    store: RunStore, generation: Generation, shards: Collection[int], progress: Progress
) -> Iterator[Finding]:
    """Train shards on their retained samples, and compare every checkpoint and recorded update that they have.

    Args:
        store: The run.
        generation: The served generation.
        shards: The shards to train.
        progress: Called after every stage.

    Yields:
        what differs, and what cannot be compared because it belongs to another determinism class

    Raises:
        FileMissing: A file of a shard is missing.
        FileCorrupt: A file of a shard is damaged.
    """
    if reasons := inexact_reasons(store):
        yield from (leaves_open(FindingKind.INEXACT, reason) for reason in reasons)
        return
    config = store.config
    spec = spec_of(store)
    device = device_or_cpu(config.device)
    with deterministic(device, config.cluster.threads, spec.workers) as determinism:
        lineages = [lineage for lineage in generation.lineages if lineage.shard in shards]
        begin_phase("replaying")
        for done, lineage in enumerate(lineages):
            load = FleetLoad(running=(lineage.shard,), waiting=len(lineages) - done - 1, done=done)
            loaded = partial(_with_load, progress, load)
            yield from _compare_shard(store, lineage, spec, device, determinism.json(), loaded)


def _with_load(progress: Progress, load: FleetLoad, stage: StageProgress) -> None:
    """Report a stage with how many shards are done and how many wait."""
    progress(replace(stage, load=load))


def _compare_shard(
    store: RunStore,
    lineage: ShardLineage,
    spec: TrainingSpec,
    device: torch.device,
    determinism: str,
    progress: Progress,
) -> Iterator[Finding]:
    """Compare the stages of one shard, up to the first that differs or cannot be compared."""
    subject, method = f"shard {lineage.shard}", store.config.unlearning.contributions
    trainer, samples = ShardTrainer(spec, lineage.shard, device), read_shard_samples(store, lineage.table)
    for stage, (checkpoint, updates) in enumerate(zip(lineage.checkpoints, lineage.updates, strict=True)):
        if checkpoint is None:
            yield leaves_open(
                FindingKind.PATCHED_REPLAY, f"{subject} was patched, and has no checkpoint of stage {stage}"
            )
            return
        written = store.files.read_checked(checkpoint.file)
        if (other := read_metadata(written)["determinism"]) != determinism:
            yield leaves_open(
                FindingKind.OTHER_CLASS_HERE,
                f"{subject} was trained in the determinism class {_describe(other)}, and this is {_describe(determinism)}",
            )
            return
        began_s = time.perf_counter()
        model = trainer.classifier.model
        recorder = stage_recorder(method, model, stage=stage, groups_per_slice=spec.groups_per_slice)
        passes = trainer.train_stage(samples, stage, recorder)
        payload, weights = trainer.dump(stage=stage, determinism=determinism)
        is_same = weights == checkpoint.weights_sha256 and _tensors_sha256(payload) == _tensors_sha256(written)
        if is_same and recorder and updates:
            is_same = _tensors_sha256(recorder.log().dump()) == _tensors_sha256(store.files.read_checked(updates))
        if not is_same and lineage.inexact:
            yield leaves_open(
                FindingKind.INEXACT, f"{subject} was trained in part otherwise: {'; '.join(lineage.inexact)}"
            )
            return
        if not is_same:
            yield fails(
                FindingKind.REPLAY,
                f"{subject} has a state at stage {stage} other than the one that training without the revoked samples gives",
            )
            return
        progress(
            StageProgress(
                shard=lineage.shard,
                stage=stage,
                first=0,
                stages=lineage.slices,
                remedy=None,
                passes=passes,
                seconds=time.perf_counter() - began_s,
            )
        )


def _tensors_sha256(payload: bytes) -> str:
    """Return the hex SHA-256 over all tensors of a file."""
    return weights_sha256(deserialize(payload, source="a state"))


def _describe(determinism: str) -> str:
    return ", ".join(f"{name} {value}" for name, value in json.loads(determinism).items())
