"""Single values from outside as raymu keeps them: an id or an owner of any type, without loss or ambiguity.

Ids and owners are kept as integers of 64 bits, or as text. The rules hold wherever an id is read, so that an id finds its
sample in whatever form it comes:

- Whole numbers are integers, whether they are unsigned, decimal or float. A column with one beyond 64 bits is text.
- UUIDs are lower-case text with hyphens, whether they are of Arrow's type, 16 bytes or text.
- Bytes are the text that they spell, if all of a column do. Otherwise 16 bytes are a UUID, and others hexadecimal digits.
- Text has no space around it. Dates and times are text in ISO 8601, times with a zone in UTC.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

from raymu.core.records import SampleId
from raymu.text import one_line

PARTS_OF_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Unit of a time -> how many make a second."""
HIGHEST = 2**63 - 1
"""The highest integer of 64 bits."""
EXACT_BELOW = {2: 2**11, 4: 2**24, 8: 2**53}
"""Bytes of a float -> the number from which it does not represent every integer."""
UUID_BYTES = 16
"""Bytes of a UUID."""
UUID_LENGTHS = (36, 38, 45)
"""Characters of a UUID, without and with what may be around it."""
_LOWEST = -(2**63)
_MOST_BITS, _MOST_DIGITS = 256, 76
_UUID = re.compile(r"(?:urn:uuid:|\{)?([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})\}?", re.IGNORECASE)


def as_id(value: object) -> SampleId:
    """Convert one value to an id or an owner as raymu keeps it.

    Raises:
        ValueError: It is missing, or no id; the message says what it is.
    """
    if isinstance(value, np.floating):
        return whole_float(float(value), EXACT_BELOW.get(value.itemsize, 2**53))
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    for kinds, convert in _VALUES.items():
        if isinstance(value, kinds) and not isinstance(value, bool) and _is_present(value):
            return convert(value)
    raise ValueError(f"{one_line(repr(value))} is {type(value).__name__}; ids are whole numbers or text")


def _is_present(value: Any) -> bool:
    return bool(value == value)  # NaN and pandas' NaT are not


def _text(value: str) -> str:
    text = canonical_text(without_padding(value))
    if not text:
        raise ValueError("it is empty or blank")
    return text


def without_padding(text: str) -> str:
    """Return text without space, and zero bytes, around it."""
    return text.strip().rstrip("\0").strip()


def canonical_text(text: str) -> str:
    """Return a UUID in lower case with hyphens, and other text as it is."""
    is_uuid = len(text) in UUID_LENGTHS and _UUID.fullmatch(text)
    return is_uuid[1].lower() if is_uuid else text


def _whole(number: int) -> SampleId:
    """Return an integer of 64 bits, or the digits of a larger one."""
    if number.bit_length() > _MOST_BITS:
        raise ValueError("a number has more than 77 digits")
    return number if _LOWEST <= number <= HIGHEST else str(number)


def whole_float(number: float, exact: int = 2**53) -> int:
    """Return the integer that a float is.

    Args:
        number: The float.
        exact: The number from which its type does not represent every integer.

    Raises:
        ValueError: It is none, or may stand for several.
    """
    if not math.isfinite(number):
        raise ValueError("a number is missing or infinite")
    if number != math.floor(number):
        raise ValueError(f"{_fraction(str(number))}")
    if abs(number) >= exact:
        raise ValueError(
            f"{number:.17g} is a float, which may stand for {int(number)} or for an integer near it; write integers or text"
        )
    return int(number)


def whole_decimal(number: Decimal) -> SampleId:
    """Return the integer of 64 bits that a decimal is, or the digits of a larger one. Raises ValueError."""
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
    return uuid_text(value) if len(value) == UUID_BYTES else value.hex()


def text_of_bytes(value: bytes) -> str | None:
    """Return the text that bytes spell, if they do. Bytes that are zero spell none: they may be a number's."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return canonical_text(text.strip()) if text.strip() and text.isprintable() else None


def uuid_text(value: bytes) -> str:
    """Return 16 bytes as a UUID."""
    return str(UUID(bytes=value))


def time_in_iso(value: date | time) -> str:
    """Return a date or a time as text, a time with a zone in UTC."""
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


def time_text(count: int, unit: str, *, has_zone: bool) -> str:
    """Return the text of a time that is counted from 1970.

    Args:
        count: The time, in parts of a second.
        unit: One of `PARTS_OF_SECOND`.
        has_zone: Whether the time is one in UTC, and not one without a zone.

    Raises:
        ValueError: The year is not one of 1 to 9999.
    """
    parts = PARTS_OF_SECOND[unit]
    seconds, rest = divmod(count, parts)
    try:
        moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError("a time is not of the years 1 to 9999") from error
    return _iso_parts(moment, rest * 10**9 // parts, has_zone=has_zone)


def _numpy_time(value: np.datetime64) -> str:
    unit, _ = np.datetime_data(value)
    unit = unit if unit in PARTS_OF_SECOND else "s"
    return time_text(int(value.astype(f"datetime64[{unit}]").astype(np.int64)), unit, has_zone=False)


_VALUES: Mapping[type | tuple[type, ...], Callable[[Any], SampleId]] = {
    int: _whole,
    float: whole_float,
    Decimal: whole_decimal,
    str: _text,
    (bytes, bytearray, memoryview): (lambda value: _bytes_id(bytes(value))),
    UUID: str,
    date: time_in_iso,
    np.datetime64: _numpy_time,
}
