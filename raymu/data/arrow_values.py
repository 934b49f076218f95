"""Arrow arrays without their encodings: dictionaries, runs, views and extension types become plain arrays."""

from uuid import UUID

import numpy as np
import pyarrow as pa

_VIEWS = {
    pa.string_view(): pa.large_string(),
    pa.binary_view(): pa.large_binary(),
}
INTEGER_TEXT = r"0|-?[1-9][0-9]{0,17}"
"""Text that stands for an integer of 64 bits, and for nothing else: an id 007 is not 7."""
_WIDEST = pa.decimal256(76, 0)
_HUGE = {"hugeint": True, "uhugeint": False}
"""DuckDB's integers of 128 bits, which Arrow does not know -> whether they have a sign."""


def plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column's values without encodings. UUIDs become text, other extension types their storage.

    Tensors of fixed shape stay as they are, and a list of them too.
    """
    chunks = [plain_array(chunk) for chunk in values.chunks]
    if len({chunk.type for chunk in chunks}) > 1:  # such as lists whose elements have other names
        chunks = [chunk.cast(chunks[0].type) for chunk in chunks]
    return pa.chunked_array(chunks or [plain_array(pa.nulls(0, values.type))])


def plain_array(array: pa.Array) -> pa.Array:
    """Return one chunk's values without encodings."""
    kind = array.type
    if pa.types.is_dictionary(kind):  # each chunk has its own
        return plain_array(array.dictionary).take(array.indices)
    if pa.types.is_run_end_encoded(kind):
        positions = np.arange(array.offset, array.offset + len(array))
        return plain_array(array.values).take(
            pa.array(np.searchsorted(array.run_ends.to_numpy(), positions, side="right"))
        )
    if kind in _VIEWS:
        return array.cast(_VIEWS[kind])
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.FixedShapeTensorType):
        return _unwrapped(array)
    return array


def is_text(kind: pa.DataType) -> bool:
    """Return whether values without encodings are text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_list(kind: pa.DataType) -> bool:
    """Return whether values without encodings are lists."""
    return any(fits(kind) for fits in _LISTS)


_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


def _unwrapped(array: pa.ExtensionArray) -> pa.Array:
    kind, storage = array.type, plain_array(array.storage)
    vendor_type = kind.type_name.lower() if isinstance(kind, pa.OpaqueType) else ""
    if isinstance(kind, pa.UuidType) or (vendor_type == "uuid" and _is_16_bytes(storage.type)):
        texts = [None if value is None else str(UUID(bytes=value)) for value in storage.to_pylist()]
        return pa.array(texts, type=pa.string())
    if vendor_type in _HUGE and _is_16_bytes(storage.type):
        return pa.array([_huge(value, is_signed=_HUGE[vendor_type]) for value in storage.to_pylist()], type=_WIDEST)
    if isinstance(kind, pa.Bool8Type):
        return storage.cast(pa.bool_())
    return storage


def _huge(value: bytes | None, *, is_signed: bool) -> int | None:
    return None if value is None else int.from_bytes(value, "little", signed=is_signed)


def _is_16_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16
