"""Columns of tensors: Arrow's own and those of Ray Data, whose type is known to Arrow only after `import ray.data`."""

import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_FIXED = ("ray.data.arrow_tensor", "ray.data.arrow_tensor_v2")
_VARIABLE = "ray.data.arrow_variable_shaped_tensor"
_NAME, _METADATA = b"ARROW:extension:name", b"ARROW:extension:metadata"


def with_plain_tensors(table: pa.Table) -> pa.Table:
    """Return a table whose tensors of Ray Data are Arrow's tensors of fixed shape.

    Raises:
        ValueError: The samples of a column differ in shape.
    """
    for index, field in enumerate(table.schema):
        name, metadata = _extension(field)
        column = table.column(index)
        if name in _FIXED:
            chunks = [_storage(chunk) for chunk in column.chunks]
            table = table.set_column(index, field.name, _tensors(chunks, column, _shape(metadata)))
        elif name == _VARIABLE:
            structures = [_storage(chunk) for chunk in column.chunks]
            shapes = {
                tuple(shape) for chunk in structures for shape in chunk.field("shape").to_pylist() if shape is not None
            }
            if len(shapes) > 1:
                raise ValueError(f"tensors in column {field.name} differ in shape; every sample needs as many features")
            shape = next(iter(shapes), (0,))
            table = table.set_column(
                index, field.name, _tensors([chunk.field("data") for chunk in structures], column, shape)
            )
    return table


def has_tensors_of_any_shape(schema: pa.Schema) -> bool:
    """Return whether a column has tensors of Ray Data whose shape only the rows tell."""
    return any(_extension(field)[0] == _VARIABLE for field in schema)


def _extension(field: pa.Field) -> tuple[str, Any]:
    """Return the name and the serialised parameters of a field's extension type, whether Arrow knows it or not."""
    if isinstance(field.type, pa.ExtensionType):
        return str(field.type.extension_name), field.type.__arrow_ext_serialize__()
    metadata = field.metadata or {}
    return metadata.get(_NAME, b"").decode(errors="replace"), metadata.get(_METADATA, b"")


def _shape(metadata: bytes) -> tuple[int, ...]:
    shape = json.loads(metadata)
    if not (isinstance(shape, list) and all(isinstance(size, int) for size in shape)):
        raise ValueError("a tensor's shape is not a list of numbers")
    return tuple(shape)


def _storage(chunk: pa.Array) -> pa.Array:
    return chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk


def _tensors(lists: list[pa.Array], column: pa.ChunkedArray, shape: tuple[int, ...]) -> pa.ChunkedArray:
    """Return lists of numbers as tensors."""
    size = math.prod(shape)
    if any(chunk.null_count for chunk in column.chunks):
        return pa.chunked_array(lists)  # a reader says how many are missing
    if any(pc.any(pc.not_equal(pc.list_value_length(chunk), size)).as_py() for chunk in lists):
        raise ValueError("a tensor has not as many numbers as its shape says")
    chunks = []
    for chunk in lists:
        values = chunk.flatten()
        kind = pa.fixed_shape_tensor(values.type, list(shape))
        fixed = pa.FixedSizeListArray.from_arrays(values, size)
        chunks.append(pa.ExtensionArray.from_storage(kind, fixed))
    return pa.chunked_array(chunks) if chunks else column
