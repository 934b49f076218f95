"""The samples that a shard is audited on: retained, forgotten and unseen ones."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from raymu.core.partition import bucket, identity_hashes, splitmix64
from raymu.core.records import Generation, ShardState
from raymu.data.columns import as_kept
from raymu.data.rows import Columns, Rows
from raymu.data.stored_rows import read_rows
from raymu.data.tables import FeatureTable, SampleTable
from raymu.errors import ConfigInvalid, DataInvalid, RequestInvalid
from raymu.service.audit.forget_set import ForgottenSamples
from raymu.service.run_spec import spec_of
from raymu.service.shard.files import read_shard_samples
from raymu.store.run import RunStore
from raymu.training.audit.samples import AuditSamples
from raymu.training.batches import ShardSamples


def assemble_samples(
    store: RunStore, generation: Generation, forgotten: ForgottenSamples, shard: int, test: FeatureTable | None
) -> AuditSamples:
    """Collect the samples of one shard.

    Args:
        store: The run.
        generation: The served generation.
        forgotten: The forgotten samples of all shards.
        shard: The audited shard.
        test: The source of unseen samples if the run has only one shard.

    Raises:
        RequestInvalid: The shard is waiting for a repair.
        ConfigInvalid: The run has only one shard and no test set.
        DataInvalid: The features of the user's file have another type than the run's.
        FileMissing: A file of the run is missing.
        FileCorrupt: A file of the run was changed.
    """
    config = store.config
    served = generation.constituents[shard]
    if served.state in (ShardState.REWOUND, ShardState.ABSTAINING):
        raise RequestInvalid(
            f"shard {shard} is {served.state}: it is waiting for a repair or for its group, or has no samples left; run "
            "`raymu settle --publish` first"
        )
    forget = forgotten.in_shard(shard)
    current = read_shard_samples(store, generation.lineages[shard].table)
    retain = current.where(~current.isin(forget.hashes))  # the oracle never sees a forgotten sample that was left in
    forget = replace(forget, features=_as_retained(read_rows(forget.features), read_rows(retain.features[:1])))
    return AuditSamples.gather(
        retain,
        forget,
        _unseen(store, generation, shard, test, count=len(retain) + len(forget)),
        spec=spec_of(store, added_epochs=generation.lineages[shard].added_epochs),
        shard=shard,
        device=config.device,
        threads=config.cluster.threads,
    )


def _as_retained(features: Rows, retained: Rows) -> Rows:
    """Return features in the type of those that the run has. Raises DataInvalid."""
    if isinstance(features, Columns) or isinstance(retained, Columns):
        return features
    kept = as_kept(features, retained.dtype)
    if kept.dtype != retained.dtype:
        raise DataInvalid("the audited file", f"has features of {kept.dtype}, the run's are {retained.dtype}")
    return kept


def _unseen(
    store: RunStore, generation: Generation, shard: int, test: FeatureTable | None, *, count: int
) -> ShardSamples:
    """Choose `count` unseen samples by hash, from the next shards or the test set; all of them if there are fewer."""
    candidates = ShardSamples.joined(list(_candidates(store, generation, shard, test, count=count)))
    order = np.argsort(splitmix64(candidates.hashes), kind="stable")
    is_chosen = np.zeros(len(candidates), dtype=bool)
    is_chosen[order[:count]] = True
    return candidates.where(is_chosen)


def _candidates(
    store: RunStore, generation: Generation, shard: int, test: FeatureTable | None, *, count: int
) -> Iterator[ShardSamples]:
    """Read samples that the shard never saw, until there are at least `count`."""
    shards = len(generation.lineages)
    if shards == 1:
        yield _as_shard(store, test, slices=generation.lineages[shard].slices)
        return
    total = 0
    for step in range(1, shards):
        samples = read_shard_samples(store, generation.lineages[(shard + step) % shards].table)
        yield samples
        total += len(samples)
        if total >= count:
            return


def _as_shard(store: RunStore, test: FeatureTable | None, *, slices: int) -> ShardSamples:
    """Return the test set as samples of a shard. The row numbers serve as ids."""
    if test is None or test.labels is None:
        raise ConfigInvalid("a run of one shard needs a test set for its audit; name one with --test-data")
    rows = np.arange(len(test.labels))
    partition = store.config.partition
    hashes = identity_hashes(rows.tolist(), seed=partition.seed, purpose="test")
    table = SampleTable(ids=rows, features=test.features, labels=test.labels)
    return ShardSamples.ordered(table, hashes=hashes, slices=bucket(hashes, slices))
