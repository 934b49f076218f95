"""Dates and times as text, in the forms that people and tools write, with every reading that a text has."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum
from zoneinfo import ZoneInfo

from raymu.text import one_line

EXAMPLE = "write 2030-01-31 or 2030-01-31T12:00+01:00"

END_OF_DAY = time(23, 59, 59)
"""What is due on a date is due at this time of it."""
LAST_DUE = datetime(9999, 12, 30, tzinfo=UTC)
"""Later times, which mean that there is no deadline, become this one, which can be shown in every zone."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? +)?"
_YEAR_FIRST = re.compile(r"(?P<year>\d{4})([-/.])(?P<month>\d{1,2})\2(?P<day>\d{1,2})(?!\d)")
_EIGHT_DIGITS = re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?!\d)")
_YEAR_LAST = re.compile(r"(?P<first>\d{1,2})([-/.])(?P<second>\d{1,2})\2(?P<year>\d{4})(?!\d)")
_SHORT_YEAR = re.compile(r"\d{1,2}([-/. ])(?:\d{1,2}|[a-z]{3,9})\1\d{2}(?!\d)", re.I)
_DAY_AND_MONTH = re.compile(_WEEKDAY + r"(?P<day>\d{1,2})[-. ]+(?P<month>[a-z]{3,9})[-., ]+(?P<year>\d{4})(?!\d)", re.I)
_MONTH_AND_DAY = re.compile(_WEEKDAY + r"(?P<month>[a-z]{3,9})\.? +(?P<day>\d{1,2}),? +(?P<year>\d{4})(?!\d)", re.I)
_ISO_WEEK = re.compile(r"\d{4}-?W\d{2}(?:-?\d)?")
_ZONE = r"(?P<zone>z|(?:utc|gmt)?[+-]\d{2}(?::?\d{2})?|[a-z][a-z_+-]*(?:/[a-z0-9_+-]+)*)?"
_CLOCK = re.compile(
    r"(?:[t, ]+(?P<hour>\d{1,2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?)?"
    r"(?: *(?P<half>[ap])\.?m\.?)?)? *" + _ZONE + r"(?: *\(.*\))?",
    re.I,
)
_OFFSET = re.compile(r"(?:utc|gmt)?([+-])(\d{2}):?(\d{2})?", re.I)
_EXCEL_DAYS = re.compile(r"\d{5}(?:[.,]\d+)?")
_UNIX_TIME = re.compile(r"\d{10}(?:\d{3}){0,3}(?:\.\d+)?")
_ENDLESS = {"infinity", "inf", "never", "nan", "nat"}


class DayOrder(Enum):
    """The order of the two numbers before a year."""

    DAY_FIRST = "day-first"
    MONTH_FIRST = "month-first"


class DateUnclear(ValueError):
    """A text is no date, or has several readings. The message is the end of a sentence about a due date."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenDate:
    """A date as a text says it."""

    text: str
    readings: Mapping[DayOrder, date]
    """The date by each order that makes one; twice the same if the order does not matter."""
    clock: time | None
    """The time of the day; None if there is a date alone."""
    zone: tzinfo | None
    """None if the text names no zone."""

    @property
    def is_ambiguous(self) -> bool:
        return len(set(self.readings.values())) > 1


def parse_date(text: str) -> WrittenDate:
    """Parse a date, with or without a time and a zone. Raises DateUnclear."""
    text = text.strip()
    shown = one_line(text, longest=60)
    if text.lower().lstrip("+-") in _ENDLESS:
        raise DateUnclear(f"{shown} has no end; leave it out, or name a date before the year 10000")
    if _EXCEL_DAYS.fullmatch(text):
        raise DateUnclear(
            f"{shown} may be a date as Excel counts days; format the column as yyyy-mm-dd, and save again"
        )
    if _UNIX_TIME.fullmatch(text):
        raise DateUnclear(f"{shown} may be seconds since 1970; {EXAMPLE}")
    if _SHORT_YEAR.match(text):
        raise DateUnclear(f"{shown} has a year of two digits; write all four")
    readings, end = _dates(text)
    rest = _CLOCK.fullmatch(text, end)
    if not readings or rest is None:
        raise DateUnclear(f"{shown!r} is not a time; {EXAMPLE}")
    try:
        return WrittenDate(text=shown, readings=readings, clock=_clock(rest), zone=_zone(rest["zone"] or ""))
    except ValueError as error:
        reason = str(error) if isinstance(error, DateUnclear) else f"{shown!r} is not a time; {EXAMPLE}"
        raise DateUnclear(reason) from None


def _dates(text: str) -> tuple[dict[DayOrder, date], int]:
    """Return the readings of the date that a text begins with, and where it ends."""
    if match := _YEAR_LAST.match(text):
        first, second, year = int(match["first"]), int(match["second"]), int(match["year"])
        parts = {DayOrder.DAY_FIRST: (year, second, first), DayOrder.MONTH_FIRST: (year, first, second)}
    elif match := _YEAR_FIRST.match(text) or _EIGHT_DIGITS.match(text):
        parts = dict.fromkeys(DayOrder, (int(match["year"]), int(match["month"]), int(match["day"])))
    elif match := _DAY_AND_MONTH.match(text) or _MONTH_AND_DAY.match(text):
        parts = dict.fromkeys(DayOrder, (int(match["year"]), _month(match["month"]), int(match["day"])))
    elif match := _ISO_WEEK.match(text):
        try:
            return dict.fromkeys(DayOrder, date.fromisoformat(match[0])), match.end()
        except ValueError:
            return {}, 0
    else:
        return {}, 0
    readings = {}
    for order, (year, month, day) in parts.items():
        try:
            readings[order] = date(year, month, day)
        except ValueError:
            continue
    return readings, match.end()


def _month(name: str) -> int:
    """Return the number of a month by its English name; 0 if it is none."""
    short = name[:3].lower()
    return _MONTHS.index(short) + 1 if short in _MONTHS else 0


def _clock(match: re.Match[str]) -> time | None:
    if match["hour"] is None:
        return None
    hour, half = int(match["hour"]), (match["half"] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            raise ValueError("no such hour")
        hour = hour % 12 + (12 if half == "p" else 0)
    microsecond = int((match["fraction"] or "0")[:6].ljust(6, "0"))
    return time(hour, int(match["minute"] or 0), int(match["second"] or 0), microsecond)


def _zone(name: str) -> tzinfo | None:
    if not name:
        return None
    if name.lower() in {"z", "utc", "gmt"}:
        return UTC
    if match := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
        return timezone(-offset if match[1] == "-" else offset)
    if "/" not in name:  # IST is three zones, and EST, as a key of the database, has no summer time
        raise DateUnclear(f"{name} may be several zones; write it as +01:00, UTC or Europe/Berlin")
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise DateUnclear(f"{name} is not a time zone that is known here; write it as +01:00") from None
