"""Where each sample lives: read once from the run, looked up by identity."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymu.core.partition import Hashes, identity_hashes
from raymu.core.records import FileRef, SampleId
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampleIndex:
    """hashes: (samples,) uint64, ascending; shards, slices, owners: of the same samples; owners are hashes, 0 for none"""

    seed: int
    hashes: Hashes
    shards: npt.NDArray[np.int32]
    slices: npt.NDArray[np.int32]
    owners: Hashes

    @classmethod
    def read(cls, store: RunStore, tables: Sequence[FileRef]) -> "SampleIndex":
        """tables: of each shard. Raises FileMissing, FileCorrupt."""
        config = store.config
        seed, columns = config.partition.seed, ["id", "slice"]
        parts = []
        for shard, ref in enumerate(tables):
            table = store.read_table(ref, [*columns, "owner"] if config.data.owner else columns)
            hashes = identity_hashes(table["id"].to_pylist(), seed=seed, purpose="sample")
            slices = table["slice"].to_numpy().astype(np.int32)
            owners = np.zeros(len(hashes), dtype=np.uint64)
            if config.data.owner:
                owners = owner_hashes(table["owner"].to_pylist(), seed=seed)
            parts.append((hashes, np.full(len(hashes), shard, dtype=np.int32), slices, owners))
        hashes, shards, slices, owners = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(hashes)
        return cls(seed=seed, hashes=hashes[order], shards=shards[order], slices=slices[order], owners=owners[order])

    def find(self, sample_ids: Sequence[SampleId]) -> npt.NDArray[np.int64]:
        """Rows of the index. returns: (sample_ids,) int64, -1 where unknown"""
        asked = identity_hashes(sample_ids, seed=self.seed, purpose="sample")
        rows = np.searchsorted(self.hashes, asked)
        rows[rows == len(self.hashes)] = 0
        is_known = self.hashes[rows] == asked if len(self.hashes) else np.zeros(len(asked), dtype=bool)
        return np.where(is_known, rows, -1)

    def without(self, sample_ids: Iterable[SampleId]) -> "SampleIndex":
        """The index after these are purged."""
        purged = identity_hashes(sample_ids, seed=self.seed, purpose="sample")
        kept = ~np.isin(self.hashes, purged)
        return SampleIndex(
            seed=self.seed,
            hashes=self.hashes[kept],
            shards=self.shards[kept],
            slices=self.slices[kept],
            owners=self.owners[kept],
        )

    def shards_of_owner(self, owner: SampleId) -> list[int]:
        """The shards that hold an owner's samples, in order."""
        [asked] = owner_hashes([owner], seed=self.seed)
        return sorted({int(shard) for shard in self.shards[self.owners == asked]})


def owner_hashes(owners: Iterable[SampleId | None], *, seed: int) -> Hashes:
    """Keyed hashes of owners; 0 where a sample has none."""
    owners = list(owners)  # by their text: the command line knows no other owners
    hashes = identity_hashes([str(owner) for owner in owners], seed=seed, purpose="owner")
    hashes[[owner is None for owner in owners]] = 0
    return hashes
