"""The rows of a shard in their order, which does not depend on the parts that they came in, a few in memory at once."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.core.partition import Hashes, Indices
from raymu.data.arrow_buffers import to_arrow, to_numpy, whole
from raymu.data.column_scratch import ColumnScratch, scratch_bytes

HASH = "hash"
"""The column of placed rows that has the hash which orders them within a slice. No table of a run has it."""
_SLICE = "slice"
_BLOCK_BYTES = 8 * 2**20
"""Bytes of rows that are gathered at once of a large group."""
_GROUP_BYTES = 64 * 2**20
"""Bytes of a group that is gathered in one go: mapped memory would cost another copy."""


class ShardRows:
    """Rows by slice and hash. Of parts in mapped memory, little more than a block is ever read at once.

    That needs parts of which each is in this order already. Others are put in order all the same.
    """

    def __init__(
        self,
        parts: Sequence[pa.Table],
        *,
        is_left_out: Callable[[pa.Table], npt.NDArray[np.bool_]] | None = None,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the placed rows of a shard.

        Args:
            parts: At least one, which may be empty.
            is_left_out: Returns which rows of a part do not belong to the run, (rows,).
            release: Called after each block: what of the parts was read into memory is needed no more.
        """
        self._parts = [part for part in parts if part.num_rows] or list(parts[:1])
        self._release_parts = release
        self._scratch: ColumnScratch | None = None
        with_hash = self._parts[0].schema
        self.schema: pa.Schema = with_hash.remove(with_hash.get_field_index(HASH))
        """The columns of the run's table."""
        self._starts: Indices = np.cumsum([0, *(part.num_rows for part in self._parts)])
        hashes = to_numpy(self._joined(HASH))
        self._order = order_by(to_numpy(self._joined(_SLICE)), hashes)
        if is_left_out is not None:
            is_out = np.concatenate([is_left_out(part) for part in self._parts])
            self._order = self._order[~is_out[self._order]]
        self.hashes: Hashes = hashes[self._order]
        """(rows,) uint64: the hash of each id for the purpose `sample`."""

    def __len__(self) -> int:
        return len(self._order)

    def select(self, names: Sequence[str]) -> pa.Table:
        """Return those of some columns that there are, of all rows."""
        present = [name for name in names if name in self.schema.names]
        rows = to_arrow(self._order)
        table = pa.table(
            [self._joined(name).take(rows) for name in present],
            schema=pa.schema([self.schema.field(name) for name in present], metadata=self.schema.metadata),
        )
        self._release_parts()
        return table

    def groups(self, most_rows: int, *, folder: Path | None = None) -> Iterator[pa.Table]:
        """Yield the rows group by group, each column in one piece; those of a large group in mapped memory.

        A group is there until the next one.

        Args:
            most_rows: Rows of a group. The last one may have fewer; without rows there is one group, which is empty.
            folder: Where a temporary file may be; None for the folder of such files.

        Raises OSError if there is no room.
        """
        size = sum(part.nbytes for part in self._parts)
        step, at_once = (
            max(1, most_bytes * int(self._starts[-1]) // max(1, size)) for most_bytes in (_BLOCK_BYTES, _GROUP_BYTES)
        )
        for start in range(0, max(1, len(self)), most_rows):
            stop = min(start + most_rows, len(self))
            if stop - start <= max(step, at_once):
                yield self._gathered(start, stop)
                continue
            self._scratch = ColumnScratch(self.schema, self._sizes(), folder)
            try:
                for first in range(start, stop, step):
                    self._scratch.append(self._gathered(first, min(first + step, stop)))
                yield self._scratch.table()
            finally:
                self._scratch.close()
                self._scratch = None

    def release(self) -> None:
        """Let go of what of the present group was read into memory. It is read again where it is needed."""
        if self._scratch is not None:
            self._scratch.release()

    def _sizes(self) -> dict[str, int]:
        return {name: sum(scratch_bytes(part[name]) for part in self._parts) for name in self.schema.names}

    def _gathered(self, start: int, stop: int) -> pa.Table:
        """Return consecutive rows of the order, each column in one chunk."""
        rows = self._order[start:stop]
        ascending = np.sort(rows)
        bounds = np.searchsorted(ascending, self._starts)
        pieces, before = [], 0
        shifts = np.zeros(len(self._parts), dtype=np.int64)
        for number in np.flatnonzero(np.diff(bounds)).tolist():
            first, last = int(ascending[bounds[number]]), int(ascending[bounds[number + 1] - 1])
            pieces.append(self._parts[number].slice(first - int(self._starts[number]), last - first + 1))
            shifts[number] = before - first
            before += last - first + 1
        joined = pa.concat_tables(pieces or self._parts[:1])
        places = to_arrow(rows + shifts[np.searchsorted(self._starts, rows, side="right") - 1])
        columns = [whole(joined[name]).take(places) for name in self.schema.names]
        self._release_parts()
        return pa.table(columns, schema=self.schema)

    def _joined(self, name: str) -> pa.Array:
        chunks = [chunk for part in self._parts for chunk in part[name].chunks]
        return whole(pa.chunked_array(chunks, type=self._parts[0].schema.field(name).type))


def order_by(numbers: Indices, hashes: Hashes) -> Indices:
    """Return the order of rows by small numbers, of slices for example, and by hashes: (rows,) int64."""
    by_hash = np.argsort(hashes)  # unlike a stable sort, it uses the vector units of the processor
    return by_hash[stable_order(numbers[by_hash])]


def stable_order(numbers: Indices) -> Indices:
    """Return the order of rows by numbers that are not negative, equal ones in the order of the rows: (rows,) int64."""
    if len(numbers) and numbers.max() < 1 << 16:
        numbers = numbers.astype(np.uint16)  # which NumPy sorts by their digits
    return np.argsort(numbers, kind="stable")
