"""Rows of samples that stay on a disk, in a temporary Arrow file that is mapped into memory, until a batch needs them."""

import mmap
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.data.arrow_source import buffer_reader
from raymu.data.rows import Columns, Rows

_ARRAY = "features"
"""The column of rows that are an array."""
PART_VALUES = 2**22
"""Values of the rows that are in memory at once where all are gone through, one part after the other."""


class ScratchFile:
    """Rows in a temporary file. It has no name, so that nothing is left of it once the process ends, however it ends."""

    def __init__(self, parts: Iterable[Rows]) -> None:
        """Write rows, part after part, of which there is at least one.

        Raises OSError if there is no room in the folder for temporary files.
        """
        self._shape: tuple[int, ...] | None = None
        with tempfile.TemporaryFile(prefix="raymu-") as file:
            self._write(file, parts)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        reader = pa.ipc.open_file(buffer_reader(pa.py_buffer(mapped)))
        self._empty = reader.schema.empty_table()
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._ends = np.cumsum([batch.num_rows for batch in self._batches], dtype=np.int64)

    def _write(self, file: IO[bytes], parts: Iterable[Rows]) -> None:
        with ExitStack() as closed:
            writer: pa.RecordBatchFileWriter | None = None
            for part in parts:
                if not isinstance(part, Columns):
                    self._shape = part.shape[1:]
                table = _as_table(part)
                writer = writer or closed.enter_context(pa.ipc.new_file(file, table.schema))
                writer.write_table(table)
            assert writer is not None, "a shard's table has a part, which may be empty"
        file.flush()

    def take(self, numbers: npt.NDArray[np.int64]) -> Rows:
        """Read rows by their numbers, in this order."""
        order = np.argsort(numbers, kind="stable")  # a disk is read from its beginning to its end
        ascending = numbers[order]
        bounds = np.searchsorted(ascending, [0, *self._ends])
        parts = [
            (batch, ascending[low:high] - (end - batch.num_rows), order[low:high])
            for batch, end, low, high in zip(self._batches, self._ends, bounds[:-1], bounds[1:], strict=True)
            if high > low
        ]
        if self._shape is not None:
            return self._taken_arrays(parts, len(numbers))
        tables = [pa.Table.from_batches([batch.take(pa.array(rows))]) for batch, rows, _ in parts]
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        return Columns.of(pa.concat_tables([self._empty, *tables]).combine_chunks().take(pa.array(places)))

    def _taken_arrays(
        self, parts: list[tuple[pa.RecordBatch, npt.NDArray[np.int64], npt.NDArray[np.int64]]], count: int
    ) -> npt.NDArray[Any]:
        shape = self._shape or ()
        dtype = self._empty.schema.field(_ARRAY).type.value_type.to_pandas_dtype()
        taken: npt.NDArray[Any] = np.empty((count, *shape), dtype)
        for batch, rows, places in parts:
            values = batch.column(_ARRAY).values.to_numpy().reshape(batch.num_rows, *shape)
            taken[places] = values[rows]
        return taken


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredRows:
    """Rows of a scratch file. They are selected as those of an array are, which reads nothing."""

    file: ScratchFile
    numbers: npt.NDArray[np.int64]
    """(samples,) the number of each row in the file."""

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> "StoredRows":
        return StoredRows(file=self.file, numbers=self.numbers[rows])

    def __reduce__(self) -> tuple[Any, ...]:
        """Take the rows themselves to another process, which has not got the file."""
        return _same, (self.read(),)

    def read(self) -> Rows:
        """Read all of these rows into memory."""
        return self.file.take(self.numbers)

    def parts(self) -> Iterator[Rows]:
        """Read the rows in parts of limited size."""
        first = self[:1].read()
        width = 64 if isinstance(first, Columns) else max(1, int(np.prod(first.shape[1:])))
        size = max(1, PART_VALUES // width)
        return (self[start : start + size].read() for start in range(0, len(self), size))


def read_rows(rows: Rows | StoredRows) -> Rows:
    """Return rows that are in memory, reading them if they are not."""
    return rows.read() if isinstance(rows, StoredRows) else rows


def _same(rows: Rows) -> Rows:
    return rows


def _as_table(rows: Rows) -> pa.Table:
    if isinstance(rows, Columns):
        return rows.table
    values = pa.array(np.ascontiguousarray(rows).reshape(-1))
    width = max(1, int(np.prod(rows.shape[1:])))
    return pa.table({_ARRAY: pa.FixedSizeListArray.from_arrays(values, width)})
