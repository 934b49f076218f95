"""Types of values that settings share."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, PlainSerializer, PlainValidator

from raymu.config import limits

SMALLEST, LARGEST = 1e-30, 1e30
"""Numbers beyond these bounds become zero or infinite in float32 arithmetic."""

Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=limits.MAX_COUNT)]
CountFromZero = Annotated[int, Field(ge=0, le=limits.MAX_COUNT)]
"""A count that may be zero."""
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
NonNegative = Annotated[float, Field(ge=0.0, le=LARGEST)]
Positive = Annotated[float, Field(gt=0.0, le=LARGEST)]
Device = Literal["auto", "cpu", "cuda"]

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_MAX_DIGITS = 5
"""Digits of a duration's number. More would be beyond all dates."""


def parse_duration(text: str) -> timedelta:
    """Read a duration such as 7d, 12h, 30m or 45s. Raises ValueError for anything else."""
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is None or not number.isdecimal() or len(number) > _MAX_DIGITS:
        raise ValueError(f"{text!r} is not a duration; write 7d, 12h, 30m or 45s")
    return timedelta(**{unit: int(number)})


def duration_text(length: timedelta) -> str:
    """Write whole seconds in the form that `parse_duration` reads, in the largest unit that divides them."""
    seconds = round(length.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _duration(setting: str | timedelta) -> timedelta:
    if isinstance(setting, timedelta):
        return setting
    if not isinstance(setting, str):
        raise ValueError(f"{setting!r} is not a duration; write 7d, 12h, 30m or 45s")
    return parse_duration(setting)


Duration = Annotated[timedelta, PlainValidator(_duration), PlainSerializer(duration_text)]
"""A length of time, written as 7d, 12h, 30m or 45s."""

STRICT = ConfigDict(defer_build=True, extra="forbid")
"""Configuration of every branch: unknown settings are refused."""
