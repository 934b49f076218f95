"""Columns of rows that come block after block, each in one piece in the end: in a temporary file that is memory-mapped."""

import mmap
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.data.arrow_buffers import to_numpy

_ALIGNMENT = 64
"""Bytes that Arrow aligns buffers to."""
_MOST_OFFSET = 2**31 - 1
"""Bytes of text or binary values that offsets of 32 bits reach."""


def scratch_bytes(column: pa.ChunkedArray) -> int:
    """Return how many bytes of the file a column takes; 0 for one that stays in memory."""
    kind = column.type
    if _width(kind) is not None:
        return len(column) * (_width(kind) or 0)
    if _is_binary(kind):
        return sum(int(ends[-1] - ends[0]) for ends in map(_offsets, column.chunks) if len(ends))
    return 0


class ColumnScratch:
    """One group of rows. The file has no name, so that nothing is left of it once the process ends, however it ends."""

    def __init__(self, schema: pa.Schema, sizes: Mapping[str, int], folder: Path | None) -> None:
        """Begin without rows.

        Args:
            schema: The columns.
            sizes: For each column, the most that `scratch_bytes` gives of its rows.
            folder: Where the file is; None for the folder of temporary files.
        """
        self._schema = schema
        self._file = tempfile.TemporaryFile(  # noqa: SIM115  # it is closed by `close`
            prefix=".raymu-", dir=None if folder is None else str(folder), buffering=0
        )
        self._sinks: list[_Sink] = []
        self._mapped: mmap.mmap | None = None
        end = 0
        for name in schema.names:
            kind = schema.field(name).type
            if _width(kind) is not None:
                self._sinks.append(_FixedSink(kind, self._file.fileno(), end))
            elif _is_binary(kind):
                self._sinks.append(_BinarySink(kind, self._file.fileno(), end))
            else:
                self._sinks.append(_MemorySink(kind))
            end += -(-sizes[name] // _ALIGNMENT) * _ALIGNMENT
        self._size = end

    def append(self, rows: pa.Table) -> None:
        """Add rows, each column of them in one chunk. Raises OSError if there is no room."""
        for sink, column in zip(self._sinks, rows.columns, strict=True):
            for chunk in column.chunks:
                sink.append(chunk)

    def table(self) -> pa.Table:
        """Return all rows. They are there until `close`."""
        content = pa.py_buffer(b"")
        if self._size:
            self._file.truncate(self._size)  # to its end, which may have been left free
            self._mapped = mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ)
            content = pa.py_buffer(self._mapped)
        return pa.table([sink.column(content) for sink in self._sinks], schema=self._schema)

    def release(self) -> None:
        """Let go of memory that the file was read into. It is read again where it is needed."""
        if self._mapped is not None:
            release(self._mapped)

    def close(self) -> None:
        """Delete the file, once nobody has its rows any more."""
        self._mapped = None
        self._file.close()


def release(mapped: mmap.mmap) -> None:
    """Let go of memory that a file was read into through a map. It is read again where it is needed."""
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


class _Sink(Protocol):
    """Takes a column, chunk after chunk."""

    def append(self, chunk: pa.Array) -> None:
        """Add values."""

    def column(self, content: pa.Buffer) -> pa.ChunkedArray:
        """Return all values. content: The file"""


class _FixedSink:
    """Values of one width, or lists of as many of them."""

    def __init__(self, kind: pa.DataType, file: int, start: int) -> None:
        self._kind, self._file, self._start, self._end = kind, file, start, start
        self._validity = _Validity()
        self._of_values = _Validity()

    def append(self, chunk: pa.Array) -> None:
        self._validity.append(chunk)
        values = chunk
        if pa.types.is_fixed_size_list(self._kind):
            size = self._kind.list_size
            values = chunk.values.slice(chunk.offset * size, len(chunk) * size)
            self._of_values.append(values)
        width = values.type.bit_width // 8
        content = memoryview(values.buffers()[1]).cast("B")
        first = values.offset * width
        self._end = _write(self._file, content[first : first + len(values) * width], self._end)

    def column(self, content: pa.Buffer) -> pa.ChunkedArray:
        part = content.slice(self._start, self._end - self._start)
        if not pa.types.is_fixed_size_list(self._kind):
            array = pa.Array.from_buffers(self._kind, self._validity.rows, [self._validity.bitmap(), part])
            return pa.chunked_array([array])
        inner = self._kind.value_type
        values = pa.Array.from_buffers(inner, self._of_values.rows, [self._of_values.bitmap(), part])
        bitmap = self._validity.bitmap()
        return pa.chunked_array([pa.Array.from_buffers(self._kind, self._validity.rows, [bitmap], children=[values])])


class _BinarySink:
    """Texts, or bytes. More of them than offsets of 32 bits reach become several chunks."""

    def __init__(self, kind: pa.DataType, file: int, start: int) -> None:
        self._kind, self._file, self._end = kind, file, start
        self._pieces = [_Piece(start)]

    def append(self, chunk: pa.Array) -> None:
        offsets = _offsets(chunk)
        lengths = np.diff(offsets).astype(np.int64)
        size = int(lengths.sum())
        is_short = not (pa.types.is_large_string(self._kind) or pa.types.is_large_binary(self._kind))
        if is_short and self._end + size - self._pieces[-1].start > _MOST_OFFSET:
            self._pieces.append(_Piece(self._end))
        piece = self._pieces[-1]
        piece.validity.append(chunk)
        piece.lengths.append(lengths)
        if size:
            content = memoryview(chunk.buffers()[2]).cast("B")
            self._end = _write(self._file, content[int(offsets[0]) : int(offsets[-1])], self._end)
        piece.size += size

    def column(self, content: pa.Buffer) -> pa.ChunkedArray:
        arrays = []
        dtype = _offset_dtype(self._kind)
        for piece in self._pieces:
            offsets = np.zeros(piece.validity.rows + 1, dtype=dtype)
            np.cumsum(np.concatenate([*piece.lengths, np.zeros(0, np.int64)]), out=offsets[1:])
            buffers = [piece.validity.bitmap(), pa.py_buffer(offsets), content.slice(piece.start, piece.size)]
            arrays.append(pa.Array.from_buffers(self._kind, piece.validity.rows, buffers))
        return pa.chunked_array(arrays, type=self._kind)


class _Piece:
    """The values of one chunk."""

    def __init__(self, start: int) -> None:
        self.start, self.size = start, 0
        self.lengths: list[npt.NDArray[np.int64]] = []
        self.validity = _Validity()


class _MemorySink:
    """Values of other types, which stay in memory."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._chunks: list[pa.Array] = []

    def append(self, chunk: pa.Array) -> None:
        self._chunks.append(chunk)

    def column(self, content: pa.Buffer) -> pa.ChunkedArray:  # noqa: ARG002
        return pa.chunked_array([pa.concat_arrays(self._chunks)])


class _Validity:
    """Which values are there."""

    def __init__(self) -> None:
        self.rows = 0
        self._parts: list[npt.NDArray[np.bool_]] = []
        self._has_missing = False

    def append(self, chunk: pa.Array) -> None:
        if chunk.null_count and not self._has_missing:
            self._has_missing = True
            self._parts = [np.ones(self.rows, dtype=bool)]
        if self._has_missing:
            self._parts.append(to_numpy(chunk.is_valid().cast(pa.uint8())).astype(bool))
        self.rows += len(chunk)

    def bitmap(self) -> pa.Buffer | None:
        if not self._has_missing:
            return None
        return pa.py_buffer(np.packbits(np.concatenate(self._parts), bitorder="little"))


def _width(kind: pa.DataType) -> int | None:
    """Return the bytes of each value; None for values of another form."""
    if pa.types.is_fixed_size_list(kind):
        inner = None if pa.types.is_fixed_size_list(kind.value_type) else _width(kind.value_type)
        return None if inner is None else inner * kind.list_size
    is_fixed = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind)
    return kind.bit_width // 8 if is_fixed else None


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_large_binary(kind)
    )


def _offset_dtype(kind: pa.DataType) -> npt.DTypeLike:
    return np.int64 if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind) else np.int32


def _offsets(chunk: pa.Array) -> npt.NDArray[np.integer]:
    """Return where the values of text or bytes begin, and where the last one ends: (values + 1,), or none."""
    buffer = chunk.buffers()[1]
    if not len(chunk) or buffer is None:
        return np.zeros(0, dtype=np.int64)
    return np.frombuffer(buffer, dtype=_offset_dtype(chunk.type))[chunk.offset : chunk.offset + len(chunk) + 1]


def _write(file: int, content: memoryview, offset: int) -> int:
    """Write bytes at an offset. Returns where they end. Raises OSError."""
    written = 0
    while written < len(content):
        written += os.pwrite(file, content[written:], offset + written)
    return offset + written
