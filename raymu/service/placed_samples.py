"""All samples of a new run, placed, and what is known of them."""

from collections.abc import Callable, Collection, Iterator
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from raymu.config import Config
from raymu.core.records import SampleId
from raymu.data.id_hashes import array_hashes, canonical_keys
from raymu.data.repeated_keys import KeyRows
from raymu.data.spellings import canonical_key
from raymu.data.table_batches import read_ids
from raymu.data.table_stream import TableStream
from raymu.errors import DataInvalid, StorageFailed
from raymu.service.phase import READING, WRITING, count_in_phase
from raymu.service.placed_facts import PlacedFacts
from raymu.service.placement import PlacedBatch, Placement
from raymu.service.shard_tables import LeftOut
from raymu.store.finished_shard import FinishedShard
from raymu.store.run import RunStore
from raymu.text import one_line

_MOST_COMPARED = 1000
"""Keys that occur again of which it is made sure that their ids do: two ids hardly ever share a hash of 64 bits."""


class PlacedRows(Protocol):
    """The placed samples themselves: in this process, or on a cluster."""

    is_run_begun: bool
    """Whether the run's directory was begun, with its keys, before the samples were placed."""

    def place(self) -> Iterator[PlacedBatch]:
        """Place all parts, and yield what is known of each, in the order of the rows. Raises OSError, RaymuError."""
        ...

    def repeated(self) -> KeyRows:
        """Return the first row of each key that occurs again, ordered by the row."""
        ...

    def count_shared(self, ids: pa.Array, left_out: LeftOut) -> int:
        """Return how many of the samples that are left have one of these ids. ids: (samples,) string"""
        ...

    def write(self, store: RunStore, config: Config, left_out: LeftOut) -> Iterator[FinishedShard]:
        """Write the run's copy of each shard's samples, in any order of the shards. Raises StorageFailed."""
        ...

    def close(self) -> None:
        """Give up what is kept of the samples."""
        ...


RowsMaker: TypeAlias = Callable[[TableStream, Placement, RunStore], PlacedRows]
"""Chooses where the samples of a new run are placed."""


class PlacedSamples:
    """The samples of a table by their shards, and the facts by which they are checked."""

    def __init__(self, stream: TableStream, placement: Placement, rows: PlacedRows, *, location: str) -> None:
        """Begin with no samples.

        Args:
            stream: The table.
            placement: How its samples are placed.
            rows: Places them.
            location: The run, for messages.
        """
        self._stream, self._placement, self._rows, self._location = stream, placement, rows, location
        names = placement.reading.fields.feature_columns
        self.facts = PlacedFacts(shards=placement.partition.shards, names=names)
        self._left_out = LeftOut()

    def take_all(self) -> None:
        """Place all parts. Raises StorageFailed, DataInvalid if ids occur again, and ConfigInvalid if a task fails."""
        total = f" of {self._stream.rows:,}" if self._stream.rows is not None else ""
        try:
            for batch in self._rows.place():
                self.facts.add(batch)
                count_in_phase(READING, f"{self.facts.findings.rows:,}{total} rows")
            self.facts.findings.require_ids(self._stream.source)
            self._require_distinct()
        except OSError as error:
            raise StorageFailed(self._location, one_line(error.strerror or error)) from error

    def leave_out(self, ids: Collection[SampleId], owners: Collection[str]) -> None:
        """Leave out samples, by id and by owner."""
        self._left_out = LeftOut(ids=tuple(ids), owners=tuple(owners))

    @property
    def samples(self) -> int:
        """Number of samples that are left."""
        return self.facts.samples(self._left_out)

    def count_shared(self, ids: pa.Array) -> int:
        """Return how many of the samples that are left have one of these ids. ids: (samples,) string"""
        return self._rows.count_shared(ids, self._left_out)

    def write(self, store: RunStore, config: Config) -> Iterator[FinishedShard]:
        """Write the run's copy of each shard's samples. Raises StorageFailed."""
        shards = self._placement.partition.shards
        for done, finished in enumerate(self._rows.write(store, config, self._left_out), 1):
            count_in_phase(WRITING, f"{done:,} of {shards:,} shards")
            yield finished

    @property
    def is_run_begun(self) -> bool:
        """Whether the run's directory was begun before the samples were placed."""
        return self._rows.is_run_begun

    def close(self) -> None:
        """Give up what is kept of the samples."""
        self._rows.close()

    def _require_distinct(self) -> None:
        """Raise DataInvalid for ids that occur again, in any of their spellings."""
        repeated = self._rows.repeated()
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

    def _spelled_again(self, repeated: KeyRows) -> list[SampleId]:
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
