"""Facts of an Arrow stream's messages that are needed before Arrow reads them: extension types, and compression.

Arrow decompresses buffers to whatever length they name, and calls the code of whichever extension type this process knows.
Both stand in the metadata of each message, a flatbuffer that Arrow has verified when it returns the message.

Source: Apache Arrow, format/Message.fbs and format/Schema.fbs.
"""

import struct
from collections.abc import Iterator

_HEADER_KIND, _HEADER = 1, 2
"""Fields of Message."""
_SCHEMA_FIELDS = 1
_NAME, _CHILDREN, _CUSTOM = 0, 5, 6
"""Fields of Field."""
_KEY, _VALUE = 0, 1
"""Fields of KeyValue."""
_DICTIONARY_DATA = 1
_COMPRESSION = 3
"""Field of RecordBatch."""
_IS_DICTIONARY = 2
"""Kind of header."""
_EXTENSION = b"ARROW:extension:name"
MOST_FIELDS = 10_000
"""Columns of a schema, with those that they consist of."""
_MOST_NOTES = 50_000
"""Pairs of a key and a value in the metadata of all columns. Columns can share pairs, so few bytes can name very many."""
_LONGEST_TEXT = 65_536
"""Bytes of a name, a key or a value."""


class MessageInvalid(ValueError):
    """A message is not what Arrow writes."""


class _Table:
    """A table of a flatbuffer, whose fields are read by their numbers."""

    __slots__ = ("_at", "_data", "_fields_at", "_fields_end")

    def __init__(self, data: memoryview, at: int) -> None:
        self._data, self._at = data, at
        self._fields_at = at - _number(data, "<i", at)
        self._fields_end = self._fields_at + _number(data, "<H", self._fields_at)

    @classmethod
    def root(cls, data: memoryview) -> "_Table":
        return cls(data, _number(data, "<I", 0))

    def has(self, field: int) -> bool:
        return self._place(field) is not None

    def byte(self, field: int) -> int:
        """Return a number of one byte; 0 without one."""
        place = self._place(field)
        return 0 if place is None else _number(self._data, "<B", place)

    def table(self, field: int) -> "_Table | None":
        place = self._place(field)
        return None if place is None else _Table(self._data, place + _number(self._data, "<I", place))

    def count(self, field: int) -> int:
        """Return the length of a vector of tables; 0 without one."""
        place = self._place(field)
        return 0 if place is None else _number(self._data, "<I", place + _number(self._data, "<I", place))

    def tables(self, field: int) -> "Iterator[_Table]":
        place = self._place(field)
        if place is not None:
            start = place + _number(self._data, "<I", place)
            for index in range(_number(self._data, "<I", start)):
                entry = start + 4 + 4 * index
                yield _Table(self._data, entry + _number(self._data, "<I", entry))

    def text(self, field: int) -> bytes:
        """Return a string; empty without one."""
        place = self._place(field)
        if place is None:
            return b""
        start = place + _number(self._data, "<I", place)
        length = _number(self._data, "<I", start)
        if length > _LONGEST_TEXT:
            raise MessageInvalid(f"it has a name or a note of more than {_LONGEST_TEXT:,} bytes")
        return bytes(self._data[start + 4 : start + 4 + length])

    def _place(self, field: int) -> int | None:
        entry = self._fields_at + 4 + 2 * field
        if entry >= self._fields_end:
            return None
        offset = _number(self._data, "<H", entry)
        return self._at + offset if offset else None


def extension_types(metadata: memoryview) -> dict[str, str]:
    """Return the extension types of a schema's message: name of a field -> name of its type.

    Raises MessageInvalid for what is no schema, or one with too many fields or notes. They are counted before they are read.
    """
    schema = _Table.root(metadata).table(_HEADER)
    names: dict[str, str] = {}
    holders = [(schema, _SCHEMA_FIELDS)] if schema else []
    fields, notes = 0, 0
    while holders:
        holder, vector = holders.pop()
        fields += holder.count(vector)
        if fields > MOST_FIELDS:
            raise MessageInvalid(f"it has more than {MOST_FIELDS:,} columns")
        for field in holder.tables(vector):
            holders.append((field, _CHILDREN))
            notes += field.count(_CUSTOM)
            if notes > _MOST_NOTES:
                raise MessageInvalid(f"its columns have more than {_MOST_NOTES:,} notes in their metadata")
            for pair in field.tables(_CUSTOM):
                if pair.text(_KEY) == _EXTENSION:
                    names[field.text(_NAME).decode(errors="replace")] = pair.text(_VALUE).decode(errors="replace")
    return names


def is_compressed(metadata: memoryview) -> bool:
    """Return whether the buffers of a record batch's or a dictionary's message are compressed. Raises MessageInvalid."""
    message = _Table.root(metadata)
    batch = message.table(_HEADER)
    if batch is not None and message.byte(_HEADER_KIND) == _IS_DICTIONARY:
        batch = batch.table(_DICTIONARY_DATA)
    return batch is not None and batch.has(_COMPRESSION)


def _number(data: memoryview, form: str, at: int) -> int:
    if at < 0:
        raise MessageInvalid("an offset is outside the message")
    try:
        [number] = struct.unpack_from(form, data, at)
    except struct.error as error:
        raise MessageInvalid("an offset is outside the message") from error
    return int(number)
