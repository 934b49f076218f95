"""All samples of a new run, placed, in a temporary file until each shard is finished, and what is known of them."""

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from raymu.config import Config
from raymu.core.arrays import Targets
from raymu.core.records import SampleId
from raymu.data.id_hashes import array_hashes, canonical_keys
from raymu.data.rows import Rows, joined_rows
from raymu.data.shard_spill import KeySpill, ShardSpill
from raymu.data.spellings import canonical_key
from raymu.data.table_batches import Findings, read_ids
from raymu.data.table_stream import TableStream
from raymu.errors import DataInvalid, StorageFailed
from raymu.service.phase import READING, count_in_phase
from raymu.service.placement import NamedRow, PlacedBatch, Placement
from raymu.service.shard_tables import LeftOut, write_shard
from raymu.store.finished_shard import FinishedShard
from raymu.store.run import RunStore
from raymu.text import one_line
from raymu.training.probe import SAMPLES

Placer: TypeAlias = Callable[[TableStream, Placement], Iterable[PlacedBatch]]
"""Places all parts of a table, in the order of the rows."""
HEAD_ROWS = 256
"""Samples that a model of the user's is tried on."""
_MOST_COMPARED = 1000
"""Keys that occur again of which it is made sure that their ids do: two ids hardly ever share a hash of 64 bits."""


class PlacedSamples:
    """The samples of a table by their shards. Only a part of the table, and one shard, are ever in memory."""

    def __init__(self, stream: TableStream, placement: Placement, *, location: str, folder: Path | None) -> None:
        """Begin with no samples.

        Args:
            stream: The table.
            placement: How its samples are placed.
            location: The run, for messages.
            folder: Where the temporary files are; None for the folder of such files.
        """
        self._stream, self._placement, self._location = stream, placement, location
        self._spill = ShardSpill(placement.partition.shards, folder)
        self._keys = KeySpill(folder)
        self._kept: list[tuple[Rows, Targets]] = []
        self._left_out = LeftOut()
        self.findings = Findings()
        self.counts = np.zeros(placement.partition.shards, dtype=np.int64)
        """(shards,) samples, those that are left out too."""
        self.lowest: Targets | None = None
        """(shards, outputs) the lowest label of each shard that has samples."""
        self.highest: Targets | None = None
        self.named: list[NamedRow] = []
        """Samples that may be left out."""
        self.revoked = 0
        """Samples that other runs revoked."""
        self.refused = 0
        """Samples for which the table is refused."""
        self.head: Rows | None = None
        """The first samples, as the table has them."""

    def take_all(self, place: Placer) -> None:
        """Place all parts. Raises StorageFailed, DataInvalid if ids occur again, and ConfigInvalid if a task fails."""
        total = f" of {self._stream.rows:,}" if self._stream.rows is not None else ""
        try:
            for batch in place(self._stream, self._placement):
                self._take(batch)
                count_in_phase(READING, f"{self.findings.rows:,}{total} rows")
            self.findings.require_ids(self._stream.source)
            self._require_distinct()
        except OSError as error:
            raise StorageFailed(self._location, one_line(error.strerror or error)) from error

    def _take(self, batch: PlacedBatch) -> None:
        names = self._placement.reading.fields.feature_columns
        self.findings.add(batch.findings, names)
        if not self.findings.is_sound or batch.rows is None:
            return
        self._keys.add(batch.keys)
        self._spill.add(batch.rows, batch.shards)
        self.counts += batch.counts
        assert batch.lowest is not None
        assert batch.highest is not None
        self.lowest = batch.lowest if self.lowest is None else np.minimum(self.lowest, batch.lowest)
        self.highest = batch.highest if self.highest is None else np.maximum(self.highest, batch.highest)
        self.named += batch.named
        self.revoked += batch.revoked
        self.refused += batch.refused
        self.head = batch.head if self.head is None else self.head
        missing = SAMPLES - sum(len(labels) for _, labels in self._kept)
        if missing and batch.kept is not None and batch.kept_labels is not None and len(batch.kept_labels):
            self._kept.append((batch.kept[:missing], batch.kept_labels[:missing]))

    def leave_out(self, ids: Collection[SampleId], owners: Collection[str]) -> None:
        """Leave out samples, by id and by owner."""
        self._left_out = LeftOut(ids=tuple(ids), owners=tuple(owners))

    @property
    def samples(self) -> int:
        """Number of samples that are left."""
        ids, owners = frozenset(self._left_out.ids), frozenset(self._left_out.owners)
        named = sum(not row.is_revoked and (row.sample_id in ids or row.owner in owners) for row in self.named)
        return self.findings.rows - self.revoked - named

    def few(self) -> tuple[Rows, Targets]:
        """Return some samples that are left, as the run keeps them, and their labels."""
        if not self._kept:
            assert self.head is not None, "a table has rows"
            return self.head[:0], np.zeros(0, dtype=np.int64)
        return joined_rows([rows for rows, _ in self._kept]), np.concatenate([labels for _, labels in self._kept])

    def ids(self) -> Iterator[pa.Array]:
        """Yield the ids of the samples that are left, shard after shard."""
        for shard in range(self._placement.partition.shards):
            yield self._left_out.without(self._spill.table(shard))["id"].combine_chunks()

    def write(self, store: RunStore, config: Config) -> Iterator[FinishedShard]:
        """Write the run's copy of each shard's samples. Raises StorageFailed."""
        for shard in range(self._placement.partition.shards):
            yield write_shard(store, shard, [self._spill.table(shard)], config=config, left_out=self._left_out)

    def close(self) -> None:
        """Delete the temporary files."""
        self._spill.close()
        self._keys.close()

    def _require_distinct(self) -> None:
        """Raise DataInvalid for ids that occur again, in any of their spellings."""
        repeated = self._keys.repeated()
        if not len(repeated):
            return
        again = self._spelled_again(repeated) if len(repeated) <= _MOST_COMPARED else None
        count = len(repeated) if again is None else len(again)
        if not count:
            return
        first = self._key_at(int(repeated["row"][0])) if again is None else again[0]
        name = self._placement.reading.fields.id
        raise DataInvalid(
            self._stream.source,
            f"ids in column {name} are not unique: {count} occur again, such as {one_line(repr(first))}; "
            "give each sample an id of its own",
        )

    def _spelled_again(self, repeated: Any) -> list[SampleId]:
        """Return the ids of these keys that occur more than once, in the order in which they first do."""
        counts: dict[SampleId, int] = {}
        keys = np.unique(repeated["key"])
        for ids in self._all_ids():
            hashes = array_hashes(canonical_keys(ids), seed=self._placement.partition.seed, purpose="sample")
            for sample_id in ids.take(pa.array(np.flatnonzero(np.isin(hashes, keys)))).to_pylist():
                key = canonical_key(sample_id)
                counts[key] = counts.get(key, 0) + 1
        return [key for key, count in counts.items() if count > 1]

    def _key_at(self, row: int) -> SampleId:
        for ids in self._all_ids():
            if row < len(ids):
                return canonical_key(ids[row].as_py())
            row -= len(ids)
        raise AssertionError("the row is one of the table")

    def _all_ids(self) -> Iterator[pa.Array]:
        """Yield the ids of the table again, in the order of the rows."""
        reading = self._placement.reading
        return (read_ids(reading, table) for table in self._stream.batches([reading.fields.id]))
