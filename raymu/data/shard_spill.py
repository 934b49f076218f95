"""Rows of shards in a temporary file, part after part, until each shard is finished alone."""

import mmap
import os
import tempfile
import weakref
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.data.arrow_buffers import to_arrow, to_numpy
from raymu.data.column_scratch import release
from raymu.data.repeated_keys import GROUPS, KeyRows, in_order, key_groups, key_rows, read_key_rows, repeated_keys
from raymu.data.shard_rows import HASH, order_by, stable_order

_MEMORY_BYTES = 16 * 1024 * 1024
"""Bytes of keys that stay in memory: a small table never touches the disk."""
_PENDING_BYTES = 24 * 1024 * 1024
"""Bytes of rows that wait, so that what is written of each shard at once is not tiny."""


class ShardSpill:
    """Rows of shards. The file has no name, so that nothing is left of the samples once the process ends, however it ends."""

    def __init__(self, shards: int, folder: Path | None) -> None:
        """Name a folder for the file; None for that of temporary files. It is made when too many rows wait."""
        self._shards, self._folder = shards, folder
        self._file: IO[bytes] | None = None
        self._mapped: mmap.mmap | None = None
        self._pending: list[tuple[pa.Table, npt.NDArray[np.int64]]] = []
        self._pending_bytes = 0
        self._parts: list[list[tuple[int, int]]] = [[] for _ in range(shards)]
        """For each shard, where its parts begin and end in the file."""
        self._schema: pa.Schema | None = None

    def add(self, rows: pa.Table, shards: npt.NDArray[np.int64]) -> None:
        """Add rows, with the columns `slice` and `HASH`. shards: (rows,) the shard of each. Raises OSError without room."""
        self._schema = self._schema or rows.schema
        slices = to_numpy(rows["slice"])
        order = order_by(shards * (int(slices.max(initial=0)) + 1) + slices, to_numpy(rows[HASH]))
        bounds = np.searchsorted(shards[order], np.arange(self._shards + 1))
        self._pending.append((rows.take(to_arrow(order)).combine_chunks(), bounds))
        self._pending_bytes += rows.nbytes
        if self._pending_bytes > _PENDING_BYTES:
            self._write()

    def parts(self, shard: int) -> list[pa.Table]:
        """Return the rows of a shard, in parts that are ordered as `ShardRows` has them; at least one, which may be empty.

        Parts that were written are in mapped memory, which `release` lets go of.
        """
        assert self._schema is not None, "a table has rows"
        content = pa.py_buffer(b"")
        if self._file is not None and self._parts[shard]:
            if self._mapped is None or len(self._mapped) < self._file.seek(0, 2):
                self._file.flush()
                self._mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            content = pa.py_buffer(self._mapped)
        written = [
            pa.Table.from_batches([pa.ipc.read_record_batch(content.slice(start, end - start), self._schema)])
            for start, end in self._parts[shard]
        ]
        waiting = [rows.slice(bounds[shard], bounds[shard + 1] - bounds[shard]) for rows, bounds in self._pending]
        return [part for part in [*written, *waiting] if part.num_rows] or [self._schema.empty_table()]

    def release(self) -> None:
        """Let go of memory that parts were read into."""
        if self._mapped is not None:
            release(self._mapped)

    def close(self) -> None:
        """Delete the file, once nobody has its rows any more."""
        self._pending, self._mapped = [], None
        if self._file is not None:
            self._file.close()

    def _write(self) -> None:
        """Write what waits: the rows of one shard after those of another."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115  # it lives as long as the spill
                prefix=".raymu-", dir=None if self._folder is None else str(self._folder)
            )
            weakref.finalize(self, self._file.close)  # also if nobody closes it
        end = self._file.seek(0, 2)
        for shard in range(self._shards):
            for rows, bounds in self._pending:
                for batch in rows.slice(bounds[shard], bounds[shard + 1] - bounds[shard]).to_batches():
                    start, end = end, end + self._file.write(batch.serialize())
                    self._parts[shard].append((start, end))
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
        self._file.write(records[stable_order(groups)].tobytes())
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


def scratch_folder(run: Path | None) -> Path | None:
    """Return the nearest folder above a run on this machine that can be written to: a run's disk has room for its samples."""
    if run is None:
        return None
    folder = next((folder for folder in (run, *run.parents) if folder.is_dir()), None)
    return folder if folder is not None and os.access(folder, os.W_OK) else None
