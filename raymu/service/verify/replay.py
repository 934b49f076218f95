"""Replay: training shards again from scratch, and comparing every bit with the stored states."""

import json
import time
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

from raymu.core.findings import FindingKind
from raymu.core.records import Generation, ShardLineage
from raymu.core.verdict import Finding, fails, leaves_open
from raymu.service.phase import begin_phase
from raymu.service.run_code import inexact_reasons
from raymu.service.run_spec import spec_of
from raymu.service.shard.files import read_shard_samples
from raymu.service.shard.messages import FleetLoad, Progress, StageProgress
from raymu.store.run import RunStore
from raymu.training.checkpoint_format import deserialize, weights_sha256
from raymu.training.checkpoint_metadata import read_metadata
from raymu.training.determinism import determinism_class, device_or_cpu
from raymu.training.model_state import TRANSIENT
from raymu.training.own_process import UndisturbedTraining
from raymu.training.stages import StageResult, StageTask


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
    config, spec = store.config, spec_of(store, added_epochs=generation.lineages[0].added_epochs)
    device = device_or_cpu(config.device)
    determinism = determinism_class(device, config.cluster.threads, spec.workers, spec.training, lane=spec.lane).json()
    lineages = [lineage for lineage in generation.lineages if lineage.shard in shards]
    begin_phase("replaying")
    with closing(UndisturbedTraining()) as training:
        for done, lineage in enumerate(lineages):
            load = FleetLoad(running=(lineage.shard,), waiting=len(lineages) - done - 1, done=done)
            task = StageTask(
                spec=spec,
                shard=lineage.shard,
                samples=read_shard_samples(store, lineage.table),
                first=0,
                checkpoint=None,
                contributions=config.unlearning.contributions,
                device="cpu" if device.type == "cpu" else config.device,
                threads=config.cluster.threads,
            )
            with closing(training(task)) as stages:
                yield from _compare_shard(store, lineage, stages, determinism, partial(_with_load, progress, load))


def _with_load(progress: Progress, load: FleetLoad, stage: StageProgress) -> None:
    """Report a stage with how many shards are done and how many wait."""
    progress(replace(stage, load=load))


def _compare_shard(
    store: RunStore,
    lineage: ShardLineage,
    stages: Iterator[StageResult],
    determinism: str,
    progress: Progress,
) -> Iterator[Finding]:
    """Compare the stages of one shard, up to the first that differs or cannot be compared."""
    subject = f"shard {lineage.shard}"
    for stage, (checkpoint, updates) in enumerate(zip(lineage.checkpoints, lineage.updates, strict=True)):
        if stage == lineage.untrained_from:
            yield leaves_open(FindingKind.UNFINISHED, f"{subject} has added samples that it is not trained on yet")
            return
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
        again = next(stages)
        is_same = _is_same_state(again.checkpoint, written, checkpoint.weights_sha256)
        if is_same and again.updates and updates:
            is_same = _tensors_sha256(again.updates) == _tensors_sha256(store.files.read_checked(updates))
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
                passes=again.passes,
                seconds=time.perf_counter() - began_s,
                measures=again.measures,
            )
        )


def _is_same_state(payload: bytes, written: bytes, weights: str) -> bool:
    """Compare a checkpoint with the stored one, and with the hash of the weights that it is known by.

    Version 0.1 had no statistics of layers that train without any, and no buffers that a model does not save. What it lacks
    is not compared.
    """
    stored, tensors = deserialize(written, source="a state"), deserialize(payload, source="a state")
    lacking = [name for name in tensors if name not in stored]
    added = {name for name in lacking if name.startswith(TRANSIENT) or name.endswith(("running_mean", "running_var"))}
    compared = {name: tensor for name, tensor in tensors.items() if name not in added}
    predictive = {name: tensor for name, tensor in compared.items() if not name.startswith("optimizer.")}
    return weights_sha256(predictive) == weights and weights_sha256(compared) == weights_sha256(stored)


def _tensors_sha256(payload: bytes) -> str:
    """Return the hex SHA-256 over all tensors of a file."""
    return weights_sha256(deserialize(payload, source="a state"))


def _describe(determinism: str) -> str:
    return ", ".join(f"{name} {value}" for name, value in json.loads(determinism).items())
