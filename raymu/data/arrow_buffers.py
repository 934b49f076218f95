"""Values to and from Arrow by their buffers: pyarrow's own conversions import pandas, which takes a fifth of a second."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.core.records import SampleId


def to_numpy(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a column of numbers, (rows,). What is in one piece is not copied, and cannot be written to.

    Raises:
        pa.ArrowInvalid: Some are missing, or they are no numbers of a fixed width.
    """
    if not _is_plain(column):
        raise pa.ArrowInvalid(f"{column.type} with {column.null_count} missing values is no column of numbers")
    return np.from_dlpack(whole(column))


def to_numpy_with_missing(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a column as pyarrow's own conversion does: missing numbers are NaN. It is asked only where that is needed."""
    values: npt.NDArray[Any] = to_numpy(column) if _is_plain(column) else column.to_numpy()
    return values


def to_arrow(values: npt.NDArray[Any]) -> pa.Array:
    """Return numbers or booleans, (rows,), as an Arrow array of their type. Numbers in one piece are not copied."""
    kept = np.packbits(values, bitorder="little") if values.dtype == np.bool_ else np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(kept)])


def ids_to_arrow(ids: Sequence[SampleId], kind: pa.DataType) -> pa.Array:
    """Return ids as an Arrow array. kind: the type of a run's own ids, int64 or string"""
    if kind == pa.int64():
        return to_arrow(np.array(ids, dtype=np.int64))
    texts = [str(sample_id).encode() for sample_id in ids]
    ends = np.array([0, *accumulate(map(len, texts))], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.large_string(), len(texts), buffers).cast(kind)


def whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece."""
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)


def _is_plain(column: pa.Array | pa.ChunkedArray) -> bool:
    return not column.null_count and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type))
