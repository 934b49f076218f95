"""Values of tables from outside as raymu keeps them: ids, owners and labels of any type, without loss or ambiguity.

Ids and owners are kept as integers of 64 bits, or as text. The rules hold wherever an id is read, so that an id finds its
sample in whatever form it comes:

- Whole numbers are integers, whether they are unsigned, decimal or float. A column with one beyond 64 bits is text.
- UUIDs are lower-case text with hyphens, whether they are of Arrow's type, 16 bytes or text.
- Bytes are the text that they spell, if all of a column do. Otherwise 16 bytes are a UUID, and others hexadecimal digits.
- Text has no space around it. Dates and times are text in ISO 8601, times with a zone in UTC.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymu.core.records import SampleId
from raymu.data.arrow_buffers import to_numpy
from raymu.data.arrow_values import PARTS_OF_SECOND, is_text, plain
from raymu.errors import DataInvalid
from raymu.text import one_line, plural

LabelValue: TypeAlias = int | bool | str
"""A label as a table has it."""

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_MOST_BITS, _MOST_DIGITS = 256, 76
_EXACT = {2: 2**11, 4: 2**24, 8: 2**53}
"""Bytes of a float -> the number from which it does not represent every integer."""
_UUID = re.compile(r"(?:urn:uuid:|\{)?([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})\}?", re.IGNORECASE)
_UUID_BYTES, _UUID_LENGTHS = 16, (36, 38, 45)
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


_NO_FACTS = ValueFacts()


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


def as_id(value: object) -> SampleId:
    """Convert one value to an id or an owner as raymu keeps it.

    Raises:
        ValueError: It is missing, or no id; the message says what it is.
    """
    if isinstance(value, np.floating):
        return _whole_float(float(value), _EXACT.get(value.itemsize, 2**53))
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    for kinds, convert in _VALUES.items():
        if isinstance(value, kinds) and not isinstance(value, bool) and _is_present(value):
            return convert(value)
    raise ValueError(f"{one_line(repr(value))} is {type(value).__name__}; ids are whole numbers or text")


def _is_present(value: Any) -> bool:
    return bool(value == value)  # NaN and pandas' NaT are not


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
        return ValueFacts(is_beyond=highest is not None and highest > _HIGHEST)
    if pa.types.is_decimal(column.type):
        return ValueFacts(is_beyond=_is_beyond(column))
    if _is_binary(column.type):
        present = [value for value in column.to_pylist() if value]  # no bytes are a missing value
        return ValueFacts(
            is_spelled=all(text_of_bytes(value) is not None for value in present),
            is_uuid=all(len(value) == _UUID_BYTES for value in present),
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
    exact, done = _EXACT[column.type.bit_width // 8], f"{column.type} became integers"
    column = column.cast(pa.float64())
    column = pc.if_else(pc.is_nan(column), None, column)  # pandas writes NaN for a missing value
    present = column.drop_null().to_numpy()
    is_odd = ~np.isfinite(present) | (present != np.floor(present)) | (np.abs(present) >= exact)
    if is_odd.any():
        _whole_float(float(present[is_odd][0]), exact)
    return column.cast(pa.int64()), (done,)


def _is_beyond(column: pa.ChunkedArray) -> bool:
    try:
        return any(isinstance(_whole_decimal(value), str) for value in column.to_pylist() if value is not None)
    except ValueError:
        return False


def _decimals(column: pa.ChunkedArray, facts: ValueFacts) -> Converted:
    numbers = [None if value is None else _whole_decimal(value) for value in column.to_pylist()]
    if not facts.is_beyond:
        return _array(numbers, pa.int64()), (f"{column.type} became integers",)
    texts = [None if number is None else str(number) for number in numbers]
    return _array(texts), (f"{column.type} became text, since some are beyond 64 bits with a sign",)


def _texts(column: pa.ChunkedArray, _facts: ValueFacts) -> Converted:
    if all(map(is_canonical, column.chunks)):
        return column.cast(pa.string()), ()
    originals = column.to_pylist()
    trimmed = [None if value is None else _trimmed(value) for value in originals]
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
    may_be_uuids = texts.filter(pc.is_in(lengths, pa.array(_UUID_LENGTHS, lengths.type)))
    return not len(may_be_uuids) or bool(pc.all(pc.match_substring_regex(may_be_uuids, _KEPT_UUID)).as_py())


def _binaries(column: pa.ChunkedArray, facts: ValueFacts) -> Converted:
    originals = [value or None for value in column.to_pylist()]  # no bytes are a missing value
    spell: Callable[[bytes], str | None]
    if facts.is_spelled:
        spell, done = text_of_bytes, "bytes became the text that they spell"
    elif facts.is_uuid:
        spell, done = _uuid_text, "16 bytes became UUIDs"
    else:
        spell, done = bytes.hex, "bytes became hexadecimal digits"
    return _array([value and spell(value) for value in originals]), (done,)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _dates(column: pa.ChunkedArray, _facts: ValueFacts) -> Converted:
    texts = [None if value is None else _iso(value) for value in column.cast(pa.date32()).to_pylist()]
    return _array(texts), (f"{column.type} became text in ISO 8601",)


def _timestamps(column: pa.ChunkedArray, _facts: ValueFacts = _NO_FACTS) -> Converted:
    kind, parts = column.type, PARTS_OF_SECOND[column.type.unit]
    texts: list[str | None] = []
    for count in column.cast(pa.int64()).to_pylist():
        if count is None:
            texts.append(None)
            continue
        seconds, rest = divmod(count, parts)
        try:
            moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)
        except OverflowError as error:
            raise ValueError("a time is not of the years 1 to 9999") from error
        texts.append(_iso_parts(moment, rest * 10**9 // parts, has_zone=kind.tz is not None))
    return _array(texts), (f"{kind} became text in ISO 8601" + (", in UTC" if kind.tz else ""),)


def _array(values: list[Any], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type=kind or pa.string())])


def _text(value: str) -> str:
    text = canonical_text(_trimmed(value))
    if not text:
        raise ValueError("it is empty or blank")
    return text


def _trimmed(text: str) -> str:
    return text.strip().rstrip("\0").strip()


def canonical_text(text: str) -> str:
    """Return a UUID in lower case with hyphens, and other text as it is."""
    is_uuid = len(text) in _UUID_LENGTHS and _UUID.fullmatch(text)
    return is_uuid[1].lower() if is_uuid else text


def _whole(number: int) -> SampleId:
    """Return an integer of 64 bits, or the digits of a larger one."""
    if number.bit_length() > _MOST_BITS:
        raise ValueError("a number has more than 77 digits")
    return number if _LOWEST <= number <= _HIGHEST else str(number)


def _whole_float(number: float, exact: int = 2**53) -> int:
    if not math.isfinite(number):
        raise ValueError("a number is missing or infinite")
    if number != math.floor(number):
        raise ValueError(f"{_fraction(str(number))}")
    if abs(number) >= exact:
        raise ValueError(
            f"{number:.17g} is a float, which may stand for {int(number)} or for an integer near it; write integers or text"
        )
    return int(number)


def _whole_decimal(number: Decimal) -> SampleId:
    if not number.is_finite():
        raise ValueError("a number is missing or infinite")
    if number.adjusted() > _MOST_DIGITS:
        raise ValueError("a number has more than 77 digits")
    if number != number.to_integral_value():
        raise ValueError(_fraction(str(number)))
    return _whole(int(number))


def _fraction(number: str) -> str:
    whole = math.floor(Decimal(number))
    return f"{one_line(number)} has a fraction, and could be meant as {whole} or as text; write integers or text"


def _bytes_id(value: bytes) -> str:
    if (spelled := text_of_bytes(value)) is not None:
        return spelled
    return _uuid_text(value) if len(value) == _UUID_BYTES else value.hex()


def text_of_bytes(value: bytes) -> str | None:
    """Return the text that bytes spell, if they do. Bytes that are zero spell none: they may be a number's."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return canonical_text(text.strip()) if text.strip() and text.isprintable() else None


def _uuid_text(value: bytes) -> str:
    return str(UUID(bytes=value))


def _iso(value: date | time) -> str:
    if isinstance(value, datetime):
        has_zone = value.tzinfo is not None
        moment = value.astimezone(UTC).replace(tzinfo=None) if has_zone else value
        return _iso_parts(moment, 1000 * value.microsecond + getattr(value, "nanosecond", 0), has_zone=has_zone)
    return value.isoformat()


def _iso_parts(moment: datetime, nanoseconds: int, *, has_zone: bool) -> str:
    """Return one text for a point in time, whatever its unit was. Midnight without a zone is a date."""
    day = f"{moment.year:04}-{moment.month:02}-{moment.day:02}"
    clock = f"T{moment.hour:02}:{moment.minute:02}:{moment.second:02}"
    if nanoseconds:
        clock += f".{nanoseconds:09}".rstrip("0")
    if has_zone:
        return f"{day}{clock}Z"
    return day if clock == "T00:00:00" else day + clock


def _numpy_time(value: np.datetime64) -> str:
    [text] = _timestamps(pa.chunked_array([pa.array(np.array([value]).astype(f"datetime64[{_numpy_unit(value)}]"))]))[0]
    return str(text)


def _numpy_unit(value: np.datetime64) -> str:
    unit, _ = np.datetime_data(value)
    return unit if unit in PARTS_OF_SECOND else "s"


_COLUMNS: Mapping[Callable[[pa.DataType], bool], Callable[[pa.ChunkedArray, ValueFacts], Converted]] = {
    pa.types.is_integer: _integers,
    pa.types.is_floating: _floats,
    pa.types.is_decimal: _decimals,
    is_text: _texts,
    _is_binary: _binaries,
    pa.types.is_date: _dates,
    pa.types.is_timestamp: _timestamps,
}
_VALUES: Mapping[type | tuple[type, ...], Callable[[Any], SampleId]] = {
    int: _whole,
    float: _whole_float,
    Decimal: _whole_decimal,
    str: _text,
    (bytes, bytearray, memoryview): (lambda value: _bytes_id(bytes(value))),
    UUID: str,
    date: _iso,
    np.datetime64: _numpy_time,
}
