"""Where each sample lives: read once from the run, looked up by identity."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.core.partition import Hashes, identity_hashes
from raymu.core.records import FileRef, SampleId
from raymu.store.run import RunStore

Rows = npt.NDArray[np.int64]

_PURGED = -1
MOST_PURGED = 1 / 64
"""Share of the rows that purged samples may leave behind: to be rid of them takes a copy of all others."""


@dataclass(kw_only=True, slots=True, eq=False)
class SampleIndex:
    """hashes: (rows,) uint64, ascending; the others: of the same samples; owners are hashes, 0 for none

    shards: -1 for a sample that is purged, whose row is still there
    """

    seed: int
    hashes: Hashes
    ids: pa.Array
    shards: npt.NDArray[np.int32]
    slices: npt.NDArray[np.int32]
    owners: Hashes
    purged: int = 0
    """How many rows are of purged samples."""

    @classmethod
    def read(cls, store: RunStore, tables: Sequence[FileRef]) -> "SampleIndex":
        """tables: of each shard. Raises FileMissing, FileCorrupt."""
        config = store.config
        seed, columns = config.partition.seed, ["id", "slice", *(["owner"] if config.data.owner else [])]
        ids: list[pa.Array] = []
        parts = []
        for shard, table in enumerate(store.read_tables(tables, columns)):
            ids.extend(table["id"].chunks)
            hashes = identity_hashes(table["id"].to_pylist(), seed=seed, purpose="sample")
            slices = table["slice"].to_numpy().astype(np.int32)
            owners = np.zeros(len(hashes), dtype=np.uint64)
            if config.data.owner:
                owners = owner_hashes(table["owner"].to_pylist(), seed=seed)
            parts.append((hashes, np.full(len(hashes), shard, dtype=np.int32), slices, owners))
        hashes, shards, slices, owners = (np.concatenate(column) for column in zip(*parts, strict=True))
        every = pa.concat_arrays(ids)
        index = cls(seed=seed, hashes=hashes, ids=every, shards=shards, slices=slices, owners=owners)
        index._keep(np.argsort(hashes))
        return index

    def find(self, sample_ids: Sequence[SampleId]) -> Rows:
        """Rows of the index. returns: (sample_ids,) int64, -1 where unknown"""
        asked = identity_hashes(sample_ids, seed=self.seed, purpose="sample")
        rows = np.searchsorted(self.hashes, asked)
        rows[rows == len(self.hashes)] = 0
        if not len(self.hashes):
            return np.full(len(asked), -1)
        is_known = (self.hashes[rows] == asked) & (self.shards[rows] != _PURGED)
        return np.where(is_known, rows, -1)

    def places(self, sample_ids: Sequence[SampleId]) -> list[tuple[int, int] | None]:
        """Shard and slice of each sample, None where unknown."""
        rows = self.find(sample_ids)
        known = rows[rows >= 0]
        places = zip(self.shards[known].tolist(), self.slices[known].tolist(), strict=True)
        return [next(places) if is_known else None for is_known in (rows >= 0).tolist()]

    def owned_by(self, owners: Sequence[SampleId]) -> list[list[SampleId]]:
        """The ids of each owner's samples."""
        if not owners:
            return []
        asked = owner_hashes(owners, seed=self.seed)
        rows = np.flatnonzero(np.isin(self.owners, asked))
        rows = rows[np.argsort(self.owners[rows], kind="stable")]
        found = self.owners[rows]
        ids: list[SampleId] = self.ids.take(rows).to_pylist()
        spans = zip(np.searchsorted(found, asked), np.searchsorted(found, asked, side="right"), strict=True)
        return [ids[start:end] for start, end in spans]

    def purge(self, sample_ids: Iterable[SampleId]) -> None:
        """These are gone from now on. It takes as long as there are many of them, however many samples are left."""
        rows = self.find(list(sample_ids))
        rows = rows[rows >= 0]
        self.shards[rows], self.owners[rows] = _PURGED, 0
        self.purged += len(rows)
        if self.purged > MOST_PURGED * len(self.hashes):
            self._keep(np.flatnonzero(self.shards != _PURGED))
            self.purged = 0

    def _keep(self, rows: Rows) -> None:
        """These rows, in this order."""
        self.hashes, self.shards, self.slices = self.hashes[rows], self.shards[rows], self.slices[rows]
        self.owners, self.ids = self.owners[rows], self.ids.take(rows)


def owner_hashes(owners: Iterable[SampleId | None], *, seed: int) -> Hashes:
    """Keyed hashes of owners; 0 where a sample has none."""
    owners = list(owners)  # by their text: the command line knows no other owners
    hashes = identity_hashes([str(owner) for owner in owners], seed=seed, purpose="owner")
    hashes[[owner is None for owner in owners]] = 0
    return hashes


class LazySampleIndex:
    """A run's sample index, read when the first request needs it: many calls on a coordinator need none."""

    def __init__(self, store: RunStore, tables: Callable[[], Sequence[FileRef]]) -> None:
        """Remember where to read. `tables` returns the current table of each shard."""
        self._store, self._tables = store, tables
        self._index: SampleIndex | None = None

    def get(self) -> SampleIndex:
        """Return the index, which later purges change. Raises FileMissing, FileCorrupt."""
        if self._index is None:
            self._index = SampleIndex.read(self._store, self._tables())
        return self._index

    def purge(self, sample_ids: Iterable[SampleId]) -> None:
        """Remove purged samples, if the index was read."""
        if self._index is not None:
            self._index.purge(sample_ids)
