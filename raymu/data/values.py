"""Columns of tables from outside as raymu keeps them: ids, owners and labels of any type, by the rules of `scalars`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymu.data.arrow_buffers import to_numpy
from raymu.data.arrow_values import is_text, plain
from raymu.data.scalars import (
    EXACT_BELOW,
    HIGHEST,
    UUID_BYTES,
    UUID_LENGTHS,
    canonical_text,
    text_of_bytes,
    time_in_iso,
    time_text,
    uuid_text,
    whole_decimal,
    whole_float,
    without_padding,
)
from raymu.errors import DataInvalid
from raymu.text import one_line, plural

LabelValue: TypeAlias = int | bool | str
"""A label as a table has it."""

_KEPT_UUID = r"\A[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\z"
"""A UUID as it is kept, for RE2."""
_VISIBLE = r"\A[!-~](?:[ -~]*[!-~])?\z"
"""Text of ASCII without space around it, for RE2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueFacts:
    """What all values of a column have in common, if the form in which they are kept depends on it."""

    is_beyond: bool = False
    """Whether some integers are beyond 64 bits with a sign."""
    is_spelled: bool = True
    """Whether all bytes spell text."""
    is_uuid: bool = True
    """Whether all bytes are 16."""

    def __or__(self, other: "ValueFacts") -> "ValueFacts":
        """Return the facts of two parts of a column together."""
        return ValueFacts(
            is_beyond=self.is_beyond or other.is_beyond,
            is_spelled=self.is_spelled and other.is_spelled,
            is_uuid=self.is_uuid and other.is_uuid,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KeptColumn:
    """Values as raymu keeps them: int64, string or, of labels, bool."""

    values: pa.ChunkedArray
    done: tuple[str, ...]
    """What was converted, for people."""


class IdKind(StrEnum):
    """The kind of value that ids are kept as."""

    INTEGER = "integer"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class IdColumn:
    """Ids, or owners, as raymu keeps them."""

    values: npt.NDArray[Any]
    """(rows,) int64, or str objects. Of owners int, str or None objects."""
    kind: IdKind
    note: str
    """What was converted, for people; empty if nothing was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelColumn:
    """Labels of a table, not numbered yet."""

    values: list[LabelValue | None]
    """One a row; None for a missing one."""
    note: str
    """What was converted, for people; empty if nothing was."""


def sample_ids(source: str, name: str, values: pa.ChunkedArray) -> IdColumn:
    """Read a column of ids.

    Args:
        source: The table, for messages.
        name: The column, for messages.
        values: (rows,).

    Raises:
        DataInvalid: An id is missing or empty, or could be read in two ways.
    """
    column = kept_column(source, "ids", name, values)
    kept, note = column.values, conversion_note("ids", name, column.done)
    require_none_missing(source, name, kept.null_count)
    if pa.types.is_integer(kept.type):
        return IdColumn(values=to_numpy(kept), kind=IdKind.INTEGER, note=note)
    return IdColumn(values=np.array(kept.to_pylist(), dtype=object), kind=IdKind.TEXT, note=note)


def owners(source: str, name: str, values: pa.ChunkedArray) -> IdColumn:
    """Read a column of owners, of whom some may be missing: (rows,) int, str or None objects. Raises DataInvalid."""
    column = kept_column(source, "owners", name, values)
    kept, note = column.values, conversion_note("owners", name, column.done)
    kind = IdKind.INTEGER if pa.types.is_integer(kept.type) else IdKind.TEXT
    return IdColumn(values=np.array(kept.to_pylist(), dtype=object), kind=kind, note=note)


def labels(source: str, name: str, values: pa.ChunkedArray) -> LabelColumn:
    """Read a column of labels, of which some may be missing. Raises DataInvalid."""
    column = kept_column(source, "labels", name, values)
    return LabelColumn(values=column.values.to_pylist(), note=conversion_note("labels", name, column.done))


def require_none_missing(source: str, name: str, missing: int) -> None:
    """Raise DataInvalid if a column lacks values, with their number."""
    if missing:
        raise DataInvalid(
            source, f"column {one_line(name)} lacks {plural(missing, 'value')}; fill them or drop those rows"
        )


def conversion_note(noun: str, name: str, done: Iterable[str]) -> str:
    """Return the line that says what was converted in a column; empty if nothing was.

    Args:
        noun: What the values are: ids, owners or labels.
        name: The column.
        done: What was done to some part of it, more than once too.
    """
    said = sorted(dict.fromkeys(done), key=lambda text: _DONE_TO_TEXTS.index(text) if text in _DONE_TO_TEXTS else 0)
    return f"{noun} in column {one_line(name)}: {', '.join(said)}" if said else ""


def needs_facts(values: pa.ChunkedArray) -> bool:
    """Return whether the form in which a column is kept depends on all of its values, and not on its type alone."""
    kind = plain(values).type
    return pa.types.is_uint64(kind) or pa.types.is_decimal(kind) or _is_binary(kind)


def value_facts(values: pa.ChunkedArray) -> ValueFacts:
    """Return the facts of a column, or of a part of one. Values that are refused have none: reading them says why."""
    column = plain(values)
    if pa.types.is_uint64(column.type):
        highest = pc.max(column).as_py()
        return ValueFacts(is_beyond=highest is not None and highest > HIGHEST)
    if pa.types.is_decimal(column.type):
        return ValueFacts(is_beyond=_is_beyond(column))
    if _is_binary(column.type):
        present = [value for value in column.to_pylist() if value]  # no bytes are a missing value
        return ValueFacts(
            is_spelled=all(text_of_bytes(value) is not None for value in present),
            is_uuid=all(len(value) == UUID_BYTES for value in present),
        )
    return ValueFacts()


def kept_column(
    source: str, noun: str, name: str, values: pa.ChunkedArray, facts: ValueFacts | None = None
) -> KeptColumn:
    """Convert a column, or a part of one, to the values that raymu keeps.

    Args:
        source: The table, for messages.
        noun: What the values are: ids, owners or labels.
        name: The column.
        values: (rows,).
        facts: The facts of the whole column; None if `values` are the whole.

    Raises:
        DataInvalid: A value could be read in two ways, or is none of the kind.
    """
    kind, column = values.type, plain(values)
    if pa.types.is_null(column.type):
        return KeptColumn(values=column.cast(pa.int64()), done=())
    if pa.types.is_boolean(column.type) and noun == "labels":
        return KeptColumn(values=column, done=())
    for fits, convert in _COLUMNS.items():
        if fits(column.type):
            try:
                kept, done = convert(column, value_facts(values) if facts is None else facts)
            except ValueError as error:
                raise DataInvalid(source, f"{noun} in column {one_line(name)}: {error}") from error
            if isinstance(kind, pa.UuidType):
                done = ("UUIDs became text",)
            return KeptColumn(values=kept, done=done)
    where = f"{noun} in column {one_line(name)}"
    raise DataInvalid(source, f"{where} are {one_line(kind)}; they must be integers or strings")


Converted: TypeAlias = tuple[pa.ChunkedArray, tuple[str, ...]]
_DONE_TO_TEXTS = ("space around them was left out", "UUIDs became lower-case")


def _integers(column: pa.ChunkedArray, facts: ValueFacts) -> Converted:
    if not facts.is_beyond:
        return column.cast(pa.int64()), ()
    return column.cast(pa.string()), (f"{column.type} became text, since some are beyond 64 bits with a sign",)


def _floats(column: pa.ChunkedArray, _facts: ValueFacts) -> Converted:
    exact, done = EXACT_BELOW[column.type.bit_width // 8], f"{column.type} became integers"
    column = column.cast(pa.float64())
    column = pc.if_else(pc.is_nan(column), None, column)  # pandas writes NaN for a missing value
    present = column.drop_null().to_numpy()
    is_odd = ~np.isfinite(present) | (present != np.floor(present)) | (np.abs(present) >= exact)
    if is_odd.any():
        whole_float(float(present[is_odd][0]), exact)
    return column.cast(pa.int64()), (done,)


def _is_beyond(column: pa.ChunkedArray) -> bool:
    try:
        return any(isinstance(whole_decimal(value), str) for value in column.to_pylist() if value is not None)
    except ValueError:
        return False


def _decimals(column: pa.ChunkedArray, facts: ValueFacts) -> Converted:
    numbers = [None if value is None else whole_decimal(value) for value in column.to_pylist()]
    if not facts.is_beyond:
        return _array(numbers, pa.int64()), (f"{column.type} became integers",)
    texts = [None if number is None else str(number) for number in numbers]
    return _array(texts), (f"{column.type} became text, since some are beyond 64 bits with a sign",)


def _texts(column: pa.ChunkedArray, _facts: ValueFacts) -> Converted:
    if all(map(is_canonical, column.chunks)):
        return column.cast(pa.string()), ()
    originals = column.to_pylist()
    trimmed = [None if value is None else without_padding(value) for value in originals]
    kept = [None if value is None else canonical_text(value) for value in trimmed]
    changes = (trimmed != originals, kept != trimmed)
    done = tuple(text for is_changed, text in zip(changes, _DONE_TO_TEXTS, strict=True) if is_changed)
    return _array([value or None for value in kept]), done  # a blank is a missing value


def is_canonical(texts: pa.Array) -> bool:
    """Return whether texts are certainly kept as they are: visible ASCII, with spaces inside at most."""
    lengths = pc.binary_length(texts)
    shortest = pc.min(lengths).as_py()
    if shortest is None:
        return True  # all are missing
    if shortest == 0 or not pc.all(pc.match_substring_regex(texts, _VISIBLE)).as_py():
        return False
    may_be_uuids = texts.filter(pc.is_in(lengths, pa.array(UUID_LENGTHS, lengths.type)))
    return not len(may_be_uuids) or bool(pc.all(pc.match_substring_regex(may_be_uuids, _KEPT_UUID)).as_py())


def _binaries(column: pa.ChunkedArray, facts: ValueFacts) -> Converted:
    originals = [value or None for value in column.to_pylist()]  # no bytes are a missing value
    spell: Callable[[bytes], str | None]
    if facts.is_spelled:
        spell, done = text_of_bytes, "bytes became the text that they spell"
    elif facts.is_uuid:
        spell, done = uuid_text, "16 bytes became UUIDs"
    else:
        spell, done = bytes.hex, "bytes became hexadecimal digits"
    return _array([value and spell(value) for value in originals]), (done,)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _dates(column: pa.ChunkedArray, _facts: ValueFacts) -> Converted:
    texts = [None if value is None else time_in_iso(value) for value in column.cast(pa.date32()).to_pylist()]
    return _array(texts), (f"{column.type} became text in ISO 8601",)


def _timestamps(column: pa.ChunkedArray, _facts: ValueFacts) -> Converted:
    kind = column.type
    texts = [
        None if count is None else time_text(count, kind.unit, has_zone=kind.tz is not None)
        for count in column.cast(pa.int64()).to_pylist()
    ]
    return _array(texts), (f"{kind} became text in ISO 8601" + (", in UTC" if kind.tz else ""),)


def _array(values: list[Any], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type=kind or pa.string())])


_COLUMNS: Mapping[Callable[[pa.DataType], bool], Callable[[pa.ChunkedArray, ValueFacts], Converted]] = {
    pa.types.is_integer: _integers,
    pa.types.is_floating: _floats,
    pa.types.is_decimal: _decimals,
    is_text: _texts,
    _is_binary: _binaries,
    pa.types.is_date: _dates,
    pa.types.is_timestamp: _timestamps,
}
