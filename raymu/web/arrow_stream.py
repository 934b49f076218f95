"""Arrow streams as bodies: a table that a caller sent, read within bounds, and a table as an answer."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raymu.errors import DataInvalid
from raymu.text import one_line
from raymu.web.arrow_messages import MessageInvalid, extension_types, is_compressed
from raymu.web.documents import MOST_ROWS

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
MOST_VALUES = 16 * 1024 * 1024
"""Numbers and texts of one body: a bit of a body may become eight bytes."""
_TENSOR = "arrow.fixed_shape_tensor"
_SOURCE = "the body"
_PLAIN = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_date,
    pa.types.is_timestamp,
    pa.types.is_time,
)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_MOST_NESTED = 4
"""Lists in lists."""


def read_stream(body: bytes) -> pa.Table:
    """Read one stream of record batches. Its numbers stay where they are in the body.

    Raises:
        MessageInvalid: The body is no such stream.
        DataInvalid: It is one that is not taken: compressed, too large, or with columns of other types.
    """
    try:
        return _read(body)
    except (pa.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
        raise MessageInvalid(one_line(error)) from error


def _read(body: bytes) -> pa.Table:
    buffer = pa.py_buffer(body)
    _check_messages(buffer)
    batches, rows, values = [], 0, 0
    with pa.ipc.open_stream(buffer) as reader:
        for field in reader.schema:
            _check_type(field.name, field.type, 0)
        if not len(reader.schema):
            raise DataInvalid(_SOURCE, "has no columns; send those of the samples")
        for batch in reader:
            rows += batch.num_rows
            if rows > MOST_ROWS:  # before anything is made of them
                raise DataInvalid(_SOURCE, f"has more than {MOST_ROWS:,} rows; send fewer at once")
            batch.validate(full=True)  # offsets and lengths, which reading does not look at
            values += sum(_values(column) for column in batch.columns)
            if values > MOST_VALUES:
                raise DataInvalid(_SOURCE, f"has more than {MOST_VALUES:,} values; send fewer rows at once")
            batches.append(batch)
        if not rows:
            raise DataInvalid(_SOURCE, "has no rows; send at least one")
        return pa.Table.from_batches(batches, schema=reader.schema)


def _check_messages(buffer: pa.Buffer) -> None:
    """Look at the metadata of each message. Raises MessageInvalid, DataInvalid, ArrowException."""
    for number, message in enumerate(_messages(buffer)):
        metadata = memoryview(message.metadata)
        if number == 0:
            if message.type != "schema":
                raise MessageInvalid("it does not begin with a schema")
            for name, kind in extension_types(metadata).items():
                if kind != _TENSOR:
                    raise DataInvalid(
                        _SOURCE, f"column {one_line(name)} is of the type {one_line(kind)}; send plain values"
                    )
        elif message.type not in ("record batch", "dictionary"):
            raise MessageInvalid(f"it has a message of the kind {one_line(message.type)} among its record batches")
        elif is_compressed(metadata):
            raise DataInvalid(_SOURCE, "has compressed buffers; write the stream without compression")


def _messages(buffer: pa.Buffer) -> Iterator[Any]:
    reader = pa.ipc.MessageReader.open_stream(buffer)
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _check_type(name: str, kind: pa.DataType, depth: int) -> None:
    """Raise DataInvalid for types whose values may take more memory than they have bytes, or that no sample has."""
    if isinstance(kind, pa.FixedShapeTensorType):
        kind = kind.storage_type
    is_fixed = pa.types.is_fixed_size_list(kind)
    if any(fits(kind) for fits in _LISTS) and depth < _MOST_NESTED and not (is_fixed and kind.list_size < 1):
        _check_type(name, kind.value_type, depth + 1)
    elif pa.types.is_dictionary(kind):
        if depth or not any(fits(kind.value_type) for fits in _PLAIN):
            raise _unknown_type(name, kind)
    elif not any(fits(kind) for fits in _PLAIN):
        raise _unknown_type(name, kind)


def _unknown_type(name: str, kind: pa.DataType) -> DataInvalid:
    return DataInvalid(
        _SOURCE,
        f"column {one_line(name)} is of the type {one_line(str(kind))[:100]}; send numbers, texts, dates, or lists or "
        "tensors of numbers",
    )


def _values(column: pa.Array) -> int:
    """Return how many values a column has, as far down as it goes. A text of a dictionary counts at each row."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    while any(fits(column.type) for fits in _LISTS):
        if pa.types.is_fixed_size_list(column.type) and len(column) * column.type.list_size > MOST_VALUES:
            return MOST_VALUES + 1
        column = column.flatten()
    if pa.types.is_dictionary(column.type) and not pa.types.is_primitive(column.type.value_type):
        lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
        return len(column) + int(pc.sum(lengths).as_py() or 0)
    return len(column)


def write_stream(table: pa.Table) -> bytes:
    """Return a table as a stream of record batches."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload
