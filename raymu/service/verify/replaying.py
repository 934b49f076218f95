"""Training a shard again from scratch, and comparing bit for bit."""

import json
from collections.abc import Collection, Iterator

from raymu.core.records import Generation, ShardLineage
from raymu.core.verdict import Finding, Verdict
from raymu.learn.classifier import ModelPlan
from raymu.learn.determinism import choose_device, pinned
from raymu.learn.train import ShardTraining
from raymu.learn.weights import about
from raymu.service.samples import read_shard_samples
from raymu.service.work import Progress, StageTrained
from raymu.store.run import RunStore


def replay_findings(
    store: RunStore, generation: Generation, shards: Collection[int], progress: Progress
) -> Iterator[Finding]:
    """Train shards on their retained samples, and compare every checkpoint that they have.

    Raises FileMissing, FileCorrupt, DeviceUnavailable.
    """
    config, manifest = store.config, store.manifest
    plan = ModelPlan.of(config, input_shape=manifest.input_shape, classes=manifest.classes)
    device = choose_device(config.training.device)
    with pinned(device, config.cluster.threads) as determinism:
        for lineage in generation.lineages:
            if lineage.shard in shards:
                trained = ShardTraining(plan, lineage.shard, device)
                yield from _compared(store, lineage, trained, determinism.json(), progress)


def _compared(
    store: RunStore, lineage: ShardLineage, training: ShardTraining, determinism: str, progress: Progress
) -> Iterator[Finding]:
    what = f"shard {lineage.shard}"
    samples = read_shard_samples(store, lineage.table)
    for stage, checkpoint in enumerate(lineage.checkpoints):
        if checkpoint is None:
            yield Finding(
                verdict=Verdict.INCONCLUSIVE,
                what=f"{what} has no checkpoint of stage {stage}: it was patched, and is not settled",
            )
            return
        written = about(store.files.read_checked(checkpoint.file))["determinism"]
        if written != determinism:
            yield Finding(
                verdict=Verdict.INCONCLUSIVE,
                what=f"{what} was trained in the determinism class {_class(written)}, this is {_class(determinism)}",
            )
            return
        passes = training.train_stage(samples, stage)
        _, weights = training.dump(stage=stage, determinism=determinism)
        if weights != checkpoint.weights_sha256:
            yield Finding(
                verdict=Verdict.FAIL,
                what=f"{what} has other weights at stage {stage} than training without the revoked samples gives",
            )
            return
        progress(
            StageTrained(
                shard=lineage.shard, stage=stage, stages=lineage.slices, remedy=None, passes=passes, seconds=0.0
            )
        )


def _class(determinism: str) -> str:
    return ", ".join(f"{name} {value}" for name, value in json.loads(determinism).items())
