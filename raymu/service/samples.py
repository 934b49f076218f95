"""A shard's samples as the run holds them, in canonical order."""

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from raymu.core.partition import identity_hashes
from raymu.core.records import FileRef, SampleId
from raymu.learn.data import from_arrow
from raymu.learn.samples import ShardSamples
from raymu.store.run import RunStore


def read_shard_samples(store: RunStore, ref: FileRef) -> ShardSamples:
    """Raises FileMissing, FileCorrupt."""
    table, slices = from_arrow(store.read_table(ref))
    hashes = identity_hashes(table.ids.tolist(), seed=store.config.partition.seed, purpose="sample")
    return ShardSamples.ordered(table, hashes=hashes, slices=slices)


def write_without(store: RunStore, shard: int, ref: FileRef, forget: Collection[SampleId]) -> FileRef:
    """The shard's table without these samples; the old one is superseded, and purged like any other file."""
    table = store.read_table(ref)
    is_forgotten = pc.is_in(table["id"], value_set=pa.array(list(forget), type=table["id"].type))
    return store.write_table(shard, table.filter(pc.invert(is_forgotten)))
