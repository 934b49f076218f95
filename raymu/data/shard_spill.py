"""Rows of shards in a temporary file, part after part, until each shard is finished alone."""

import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.data.arrow_buffers import to_arrow
from raymu.data.repeated_keys import GROUPS, KeyRows, in_order, key_groups, key_rows, read_key_rows, repeated_keys

_MEMORY_BYTES = 16 * 1024 * 1024
"""Bytes that stay in memory: a small table never touches the disk."""
_PENDING_BYTES = 24 * 1024 * 1024
"""Bytes of rows that wait, so that what is written of each shard at once is not tiny."""


class ShardSpill:
    """Rows of shards. The file has no name, so that nothing is left of the samples once the process ends, however it ends."""

    def __init__(self, shards: int, folder: Path | None) -> None:
        """Name a folder for the file; None for that of temporary files. It is made when the rows no longer fit memory."""
        self._shards = shards
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115  # it lives as long as the spill
            max_size=_MEMORY_BYTES, prefix=".raymu-", dir=None if folder is None else str(folder)
        )
        weakref.finalize(self, self._file.close)  # also if nobody closes it
        self._pending: list[tuple[pa.Table, npt.NDArray[np.int64]]] = []
        self._pending_bytes = 0
        self._ends: list[npt.NDArray[np.int64]] = []
        self._starts: list[int] = []
        self._schema: pa.Schema | None = None

    def add(self, rows: pa.Table, shards: npt.NDArray[np.int64]) -> None:
        """Add rows. shards: (rows,) the shard of each. Raises OSError if there is no room."""
        self._schema = self._schema or rows.schema
        order = np.argsort(shards, kind="stable")
        bounds = np.searchsorted(shards[order], np.arange(self._shards + 1))
        self._pending.append((rows.take(to_arrow(order)).combine_chunks(), bounds))
        self._pending_bytes += rows.nbytes
        if self._pending_bytes > _PENDING_BYTES:
            self._write()

    def table(self, shard: int) -> pa.Table:
        """Return the rows of a shard, in the order in which they were added, in several chunks."""
        assert self._schema is not None, "a table has rows"
        return pa.Table.from_batches(list(self._batches(shard)), self._schema)

    def close(self) -> None:
        """Delete the file."""
        self._pending = []
        self._file.close()

    def _batches(self, shard: int) -> Iterator[pa.RecordBatch]:
        for start, ends in zip(self._starts, self._ends, strict=True):
            begin, end = int(ends[shard - 1]) if shard else 0, int(ends[shard])
            if end > begin:
                self._file.seek(start + begin)
                buffer = pa.py_buffer(self._file.read(end - begin))
                yield pa.ipc.read_record_batch(buffer, self._schema)
        for rows, bounds in self._pending:
            yield from rows.slice(bounds[shard], bounds[shard + 1] - bounds[shard]).to_batches()

    def _write(self) -> None:
        """Write what waits: the rows of one shard after those of another."""
        self._file.seek(0, 2)
        self._starts.append(self._file.tell())
        ends = np.zeros(self._shards, dtype=np.int64)
        end = 0
        for shard in range(self._shards):
            parts = [rows.slice(bounds[shard], bounds[shard + 1] - bounds[shard]) for rows, bounds in self._pending]
            table = pa.concat_tables([part for part in parts if part.num_rows] or parts[:1]).combine_chunks()
            for batch in table.to_batches():
                end += self._file.write(batch.serialize())
            ends[shard] = end
        self._ends.append(ends)
        self._pending, self._pending_bytes = [], 0


class KeySpill:
    """Keys of all rows, 8 bytes each, in a temporary file, to find those that occur again without a table of all of them."""

    def __init__(self, folder: Path | None) -> None:
        """Name a folder for the file, as for `ShardSpill`."""
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115  # it lives as long as the spill
            max_size=_MEMORY_BYTES, prefix=".raymu-", dir=None if folder is None else str(folder)
        )
        weakref.finalize(self, self._file.close)
        self._counts: list[npt.NDArray[np.int64]] = []
        self._starts: list[int] = []
        self.rows = 0

    def add(self, keys: npt.NDArray[np.uint64]) -> None:
        """Add the keys of the next rows, sorted into groups by their highest bits. Raises OSError if there is no room."""
        records, groups = key_rows(keys, self.rows), key_groups(keys)
        self._file.seek(0, 2)
        self._starts.append(self._file.tell())
        self._file.write(records[np.argsort(groups, kind="stable")].tobytes())
        self._counts.append(np.bincount(groups, minlength=GROUPS))
        self.rows += len(keys)

    def repeated(self) -> KeyRows:
        """Return the first row of each key that occurs again, ordered by the row."""
        return in_order([self._repeated_in(group) for group in range(GROUPS)])

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    def _repeated_in(self, group: int) -> KeyRows:
        parts, size = [], read_key_rows(b"").itemsize
        for start, counts in zip(self._starts, self._counts, strict=True):
            if counts[group]:
                self._file.seek(start + int(counts[:group].sum()) * size)
                parts.append(self._file.read(int(counts[group]) * size))
        return repeated_keys(read_key_rows(b"".join(parts)))
