"""Columns of pictures: of files' bytes, or of arrays as lists and tensors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymu.data.arrow_values import is_list
from raymu.training.tasks.images.decoding import Picture

BYTES = "bytes"
"""The part of a structure that has a file's bytes, as datasets of Hugging Face writes pictures."""


def encoded_column(values: pa.Array) -> pa.Array:
    """Return the bytes of files that a column has; other columns as they are."""
    kind = values.type
    if pa.types.is_struct(kind) and kind.get_field_index(BYTES) >= 0:
        return pc.struct_field(values, BYTES)
    return values


def is_encoded(kind: pa.DataType) -> bool:
    """Tell whether values are the bytes of files."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def pixel_type(kind: pa.DataType) -> np.dtype[Any] | None:
    """Return the type of decoded pictures of a column: uint8 or float32; None if it has none."""
    if is_encoded(kind):
        return np.dtype(np.uint8)
    depth = 0
    if isinstance(kind, pa.FixedShapeTensorType):
        depth, kind = len(kind.shape), kind.value_type
    while is_list(kind):
        depth, kind = depth + 1, kind.value_type
    if depth not in (2, 3):
        return None
    if pa.types.is_integer(kind):
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if pa.types.is_floating(kind) else None


def pictures(values: pa.Array) -> Iterator[Picture]:
    """Yield the pictures of a column, which has no missing ones.

    Raises:
        ValueError: Rows of a picture differ in length, or a number is missing, beyond 0 to 255, or no number at all.
    """
    kind = values.type
    if is_encoded(kind):
        for value in values:
            yield value.as_py()
    elif isinstance(kind, pa.FixedShapeTensorType):
        for array in values.to_numpy_ndarray():
            yield _checked(array)
    else:
        for index in range(len(values)):
            yield _checked(_array(values.slice(index, 1)))


def _array(lists: pa.Array) -> npt.NDArray[Any]:
    """Return one entry of nested lists as an array."""
    shape = []
    while is_list(lists.type):
        lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
        if len(lengths) != 1 or not lengths[0]:
            raise ValueError("rows of an array differ in length or are missing")
        shape.append(lengths[0])
        lists = lists.flatten()
    if lists.null_count:
        raise ValueError("numbers are missing")
    return lists.to_numpy(zero_copy_only=False).reshape(shape)


def _checked(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise ValueError("numbers are NaN or infinite")
        return array
    if array.size and (array.min() < 0 or array.max() > 255):
        raise ValueError("numbers are beyond 0 to 255")
    return array.astype(np.uint8)
