"""The samples of each audited shard: retained, forgotten, and others that it never saw."""

from collections.abc import Iterator

import numpy as np

from raymu.core.partition import identity_hashes, mix, spread
from raymu.core.records import Generation, ShardState
from raymu.data.tables import FeatureTable, SampleTable
from raymu.errors import ConfigInvalid, DataInvalid, RequestInvalid
from raymu.service.audit.forget_set import ForgottenSamples
from raymu.service.shard.files import read_shard_samples
from raymu.store.run import RunStore
from raymu.training.audit.samples import AuditSamples
from raymu.training.batches import ShardSamples
from raymu.training.spec import TrainingSpec


def assemble_samples(
    store: RunStore, generation: Generation, forgotten: ForgottenSamples, shard: int, test: FeatureTable | None
) -> AuditSamples:
    """test: where unseen samples come from if the run has one shard alone

    Raises RequestInvalid where the shard waits for a repair, ConfigInvalid, DataInvalid, FileMissing, FileCorrupt.
    """
    config, manifest = store.config, store.manifest
    served = generation.constituents[shard]
    if served.state in (ShardState.REWOUND, ShardState.ABSTAINING):
        raise RequestInvalid(
            f"shard {shard} is {served.state}: it waits for a repair, or has no samples left; run `raymu settle` first"
        )
    forget = forgotten.in_shard(shard)
    held = read_shard_samples(store, generation.lineages[shard].table)
    retain = held.where(~held.isin(forget.hashes))  # one that was left in is no sample of the oracle's
    if forget.features.dtype != retain.features.dtype:
        raise DataInvalid(
            "the audited file", f"has features of {forget.features.dtype}, the run's are {retain.features.dtype}"
        )
    return AuditSamples.gather(
        retain,
        forget,
        _unseen(store, generation, shard, test, count=len(retain) + len(forget)),
        spec=TrainingSpec.of(config, input_shape=manifest.input_shape, classes=manifest.classes),
        shard=shard,
        device=config.device,
        threads=config.cluster.threads,
    )


def _unseen(
    store: RunStore, generation: Generation, shard: int, test: FeatureTable | None, *, count: int
) -> ShardSamples:
    """So many samples of the next shards, or of the test set; fewer where there are no more."""
    samples = ShardSamples.joined(list(_others(store, generation, shard, test, count=count)))
    order = np.argsort(mix(samples.hashes), kind="stable")
    is_taken = np.zeros(len(samples), dtype=bool)
    is_taken[order[:count]] = True
    return samples.where(is_taken)


def _others(
    store: RunStore, generation: Generation, shard: int, test: FeatureTable | None, *, count: int
) -> Iterator[ShardSamples]:
    shards = len(generation.lineages)
    if shards == 1:
        yield _as_shard(store, test)
        return
    found = 0
    for step in range(1, shards):
        samples = read_shard_samples(store, generation.lineages[(shard + step) % shards].table)
        yield samples
        found += len(samples)
        if found >= count:
            return


def _as_shard(store: RunStore, test: FeatureTable | None) -> ShardSamples:
    """Test samples in slices of their own: they are known by their rows."""
    if test is None or test.labels is None:
        raise ConfigInvalid("a run of one shard is audited beside its test set, and has none; name one with --test")
    rows = np.arange(len(test.labels))
    partition = store.config.partition
    hashes = identity_hashes(rows.tolist(), seed=partition.seed, purpose="test")
    table = SampleTable(ids=rows, features=test.features, labels=test.labels)
    return ShardSamples.ordered(table, hashes=hashes, slices=spread(hashes, partition.slices))
