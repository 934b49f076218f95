"""Who may ask a run to forget: the samples that it holds, or would hold."""

from collections.abc import Sequence

import numpy as np

from raymu.config import PartitionConfig
from raymu.core.partition import identity_hashes, place_uniform
from raymu.core.planning.trace import RevocableSamples
from raymu.core.records import FileRef
from raymu.data.tables import SampleTable
from raymu.service.ingest import place
from raymu.store.run import RunStore


def planned_population(table: SampleTable, partition: PartitionConfig) -> RevocableSamples:
    """Of a run that is not trained yet."""
    shards, slices = place(table, partition)
    return RevocableSamples(
        ids=table.ids,
        shards=shards,
        slices=slices,
        labels=table.labels,
        owners=table.owners,
        shard_count=partition.shards,
        slice_count=partition.slices,
    )


def imagined_population(samples: int, partition: PartitionConfig) -> RevocableSamples:
    """Of a run whose data are not there yet: samples without owners, all of one class, spread uniformly."""
    ids = np.arange(samples)
    hashes = identity_hashes(ids.tolist(), seed=partition.seed, purpose="place")
    shards, slices = place_uniform(hashes, shards=partition.shards, slices=partition.slices)
    return RevocableSamples(
        ids=ids,
        shards=shards,
        slices=slices,
        labels=np.zeros(samples, dtype=np.int64),
        shard_count=partition.shards,
        slice_count=partition.slices,
    )


def held_population(store: RunStore, tables: Sequence[FileRef]) -> RevocableSamples:
    """Of a run as it is. tables: of each shard. Raises FileMissing, FileCorrupt."""
    config = store.config
    columns = ["id", "slice", "label", *(["owner"] if config.data.owner else [])]
    parts = [store.read_table(ref, columns) for ref in tables]
    ids = [sample_id for part in parts for sample_id in part["id"].to_pylist()]
    return RevocableSamples(
        ids=np.array(ids, dtype=np.int64 if store.manifest.has_integer_ids else object),
        shards=np.repeat(np.arange(len(parts)), [part.num_rows for part in parts]),
        slices=np.concatenate([part["slice"].to_numpy() for part in parts]),
        labels=np.concatenate([part["label"].to_numpy() for part in parts]),
        owners=np.array([owner for part in parts for owner in part["owner"].to_pylist()], dtype=object)
        if config.data.owner
        else None,
        shard_count=config.partition.shards,
        slice_count=config.partition.slices,
    )
