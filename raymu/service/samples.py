"""A shard's samples as the run holds them, in canonical order."""

from raymu.core.partition import identity_hashes
from raymu.learn.data import from_arrow
from raymu.learn.samples import ShardSamples
from raymu.store.run import RunStore


def read_shard_samples(store: RunStore, shard: int) -> ShardSamples:
    """Raises FileMissing, FileCorrupt."""
    table, slices = from_arrow(store.read_samples(shard))
    hashes = identity_hashes(table.ids.tolist(), seed=store.config.partition.seed, purpose="sample")
    return ShardSamples.ordered(table, hashes=hashes, slices=slices)
