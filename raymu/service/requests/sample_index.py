"""The index of a run's samples: id -> shard and slice."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymu.core.partition import Hashes, identity_hashes
from raymu.core.records import FileRef, SampleId
from raymu.store.run import RunStore

Rows = npt.NDArray[np.int64]

_PURGED = -1
MAX_PURGED_SHARE = 1 / 64
"""Share of the rows that purged samples may occupy. Removing them copies all others."""


@dataclass(kw_only=True, slots=True, eq=False)
class SampleIndex:
    """Columns with one row for each sample, ordered by the hash of its id."""

    seed: int
    """Key of the hashes."""
    hashes: Hashes
    """(rows,) uint64, ascending."""
    ids: pa.Array
    """(rows,) integers or strings."""
    shards: npt.NDArray[np.int32]
    """(rows,) int32; -1 for a purged sample."""
    slices: npt.NDArray[np.int32]
    """(rows,) int32."""
    owners: Hashes
    """(rows,) uint64 hashes of owners; 0 for none."""
    purged: int = 0
    """Number of rows of purged samples."""

    @classmethod
    def read(cls, store: RunStore, tables: Sequence[FileRef]) -> "SampleIndex":
        """Read the table of each shard. Raises FileMissing, FileCorrupt."""
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
        index = cls(seed=seed, hashes=hashes, ids=pa.concat_arrays(ids), shards=shards, slices=slices, owners=owners)
        index._select(np.argsort(hashes))
        return index

    def find(self, sample_ids: Sequence[SampleId]) -> Rows:
        """Return the rows of samples, (sample_ids,) int64; -1 for unknown ones."""
        hashes = identity_hashes(sample_ids, seed=self.seed, purpose="sample")
        rows = np.searchsorted(self.hashes, hashes)
        rows[rows == len(self.hashes)] = 0
        if not len(self.hashes):
            return np.full(len(hashes), -1)
        is_known = (self.hashes[rows] == hashes) & (self.shards[rows] != _PURGED)
        return np.where(is_known, rows, -1)

    def homes(self, sample_ids: Sequence[SampleId]) -> list[tuple[int, int] | None]:
        """Return the shard and slice of each sample; None for unknown ones."""
        rows = self.find(sample_ids)
        known = rows[rows >= 0]
        homes = zip(self.shards[known].tolist(), self.slices[known].tolist(), strict=True)
        return [next(homes) if is_known else None for is_known in (rows >= 0).tolist()]

    def padded(self) -> dict[str, str]:
        """Return the ids that are text with space around: text without it -> id. Two of one text are left out."""
        if pa.types.is_integer(self.ids.type):
            return {}
        ids = self.ids.filter(pa.array(self.shards != _PURGED))
        trimmed = pc.utf8_trim_whitespace(ids)
        is_padded = pc.not_equal(ids, trimmed)
        pairs = list(zip(trimmed.filter(is_padded).to_pylist(), ids.filter(is_padded).to_pylist(), strict=True))
        counts = Counter(text for text, _ in pairs)
        return {text: sample_id for text, sample_id in pairs if counts[text] == 1}

    def owned_by(self, owners: Sequence[SampleId]) -> list[list[SampleId]]:
        """Return the ids of each owner's samples."""
        if not owners:
            return []
        hashes = owner_hashes(owners, seed=self.seed)
        rows = np.flatnonzero(np.isin(self.owners, hashes))
        rows = rows[np.argsort(self.owners[rows], kind="stable")]
        present = self.owners[rows]
        ids: list[SampleId] = self.ids.take(rows).to_pylist()
        spans = zip(np.searchsorted(present, hashes), np.searchsorted(present, hashes, side="right"), strict=True)
        return [ids[start:end] for start, end in spans]

    def purge(self, sample_ids: Iterable[SampleId]) -> None:
        """Remove purged samples, in time proportional to their number."""
        rows = self.find(list(sample_ids))
        rows = rows[rows >= 0]
        self.shards[rows], self.owners[rows] = _PURGED, 0
        self.purged += len(rows)
        if self.purged > MAX_PURGED_SHARE * len(self.hashes):
            self._select(np.flatnonzero(self.shards != _PURGED))
            self.purged = 0

    def _select(self, rows: Rows) -> None:
        """Reduce the index to these rows, in this order."""
        self.hashes, self.shards, self.slices = self.hashes[rows], self.shards[rows], self.slices[rows]
        self.owners, self.ids = self.owners[rows], self.ids.take(rows)


def owner_hashes(owners: Iterable[SampleId | None], *, seed: int) -> Hashes:
    """Return keyed hashes of owners; 0 for None."""
    owners = list(owners)  # by their text, as the command line names them
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

    def forget(self) -> None:
        """Let the next request read the index again, after samples were added to the tables."""
        self._index = None

    def purge(self, sample_ids: Iterable[SampleId]) -> None:
        """Remove purged samples, if the index was read."""
        if self._index is not None:
            self._index.purge(sample_ids)
