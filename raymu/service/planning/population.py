"""The samples that can be revoked from a run, before and after it is trained."""

from collections.abc import Sequence

import numpy as np

from raymu.config import PartitionConfig
from raymu.core.planning.trace import RevocableSamples
from raymu.core.records import ShardLineage
from raymu.data.tables import SampleTable
from raymu.service.history_parts import sample_homes
from raymu.store.run import RunStore


def planned_population(table: SampleTable, partition: PartitionConfig) -> RevocableSamples:
    """Return the samples of a run that is not trained yet."""
    shards, slices = sample_homes(table, partition)
    return RevocableSamples(
        ids=table.ids,
        shards=shards,
        slices=slices,
        labels=table.labels,
        owners=table.owners,
        shard_count=partition.shards,
        slice_count=partition.slices,
    )


def current_population(store: RunStore, lineages: Sequence[ShardLineage]) -> RevocableSamples:
    """Return the samples that a run has now. `lineages` are those of its shards, in order.

    Raises:
        FileMissing: A table is missing.
        FileCorrupt: A table was changed.
    """
    config = store.config
    columns = ["id", "slice", "label", *(["owner"] if config.data.owner else [])]
    parts = [store.samples.read_table(table, columns) for table in (lineage.table for lineage in lineages)]
    ids = [sample_id for part in parts for sample_id in part["id"].to_pylist()]
    owners = [owner for part in parts for owner in part["owner"].to_pylist()] if config.data.owner else None
    return RevocableSamples(
        ids=np.array(ids, dtype=np.int64 if store.manifest.has_integer_ids else object),
        shards=np.repeat(np.arange(len(parts)), [part.num_rows for part in parts]),
        slices=np.concatenate([part["slice"].to_numpy() for part in parts]),
        labels=np.concatenate([part["label"].to_numpy() for part in parts]),
        owners=None if owners is None else np.array(owners, dtype=object),
        shard_count=config.partition.shards,
        slice_count=lineages[0].slices,
    )
