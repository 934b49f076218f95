"""Due dates: one, or a column of them. A date is the end of that day, and what names no zone is local."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeAlias, TypeVar

import pyarrow as pa

from raymu.data.arrow_values import plain
from raymu.data.date_text import END_OF_DAY, EXAMPLE, LAST_DUE, DateUnclear, DayOrder, WrittenDate, parse_date
from raymu.text import one_line

_NO_DATE = {"null", "\\n", "none", "n/a", "na", "nan", "nat", "-", "--"}
"""What databases, spreadsheets and programs write in a cell that has no date."""
_UNITS = {"s": timedelta(seconds=1), "ms": timedelta(milliseconds=1), "us": timedelta(microseconds=1)}

DateFormat: TypeAlias = DayOrder | str
"""How dates are written: the order of day and month, or a pattern of `strptime`."""
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class DueColumn:
    """The due dates of a column."""

    times: tuple[datetime | None, ...]
    """One a row, each with a zone; None for an empty cell."""
    note: str = ""
    """What was concluded from the whole column; empty if each date says all by itself."""


class DueInvalid(ValueError):
    """A due date cannot be read."""

    def __init__(self, problem: str, row: int | None = None) -> None:
        """Say what is wrong.

        Args:
            problem: The end of a sentence that begins with "due".
            row: The index of the row, if one row is at fault.
        """
        super().__init__(problem, row)
        self.problem, self.row = problem, row

    def __str__(self) -> str:
        return self.problem


def read_due(value: object, date_format: DateFormat | None = None) -> datetime:
    """Convert one due date: text, a date or a time. Raises DueInvalid."""
    if isinstance(value, datetime):
        return _placed(value)
    if isinstance(value, date):
        return _placed(datetime.combine(value, END_OF_DAY))
    if not isinstance(value, str):
        raise DueInvalid(f"{one_line(repr(value))} is not a time; {EXAMPLE}")
    if isinstance(date_format, str):
        [moment] = _each([value], lambda text: _by_pattern(text, date_format))
    else:
        [written] = _each([value], parse_date)
        order = date_format or _common_order([written])
        moment = _placed(_moment(written, order, 0)) if written else None
    if moment is None:
        raise DueInvalid(f"'' is not a time; {EXAMPLE}")
    return moment


def due_column(values: pa.ChunkedArray, date_format: DateFormat | None = None) -> DueColumn:
    """Convert a column of due dates. Empty cells are null, or blank text.

    Raises:
        DueInvalid: A date cannot be read, or the dates of the column cannot be read together.
    """
    values = plain(values)
    kind = values.type
    if pa.types.is_date(kind):
        days = values.cast(pa.date32(), safe=False).cast(pa.int32()).to_pylist()
        return DueColumn(tuple(_each(days, lambda day: _placed(_since_1970(day * timedelta(days=1), END_OF_DAY)))))
    if pa.types.is_timestamp(kind):
        return _of_timestamps(values)
    try:
        cells = values.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException) as error:  # ValueError: not UTF-8
        raise DueInvalid(f"dates cannot be read ({one_line(error)})") from error
    for row, cell in enumerate(cells):
        if not isinstance(cell, str | None):
            problem = "is a number" if isinstance(cell, int | float) else "is not a time"
            raise DueInvalid(f"{one_line(repr(cell))} {problem}, and may count days or seconds; {EXAMPLE}", row)
    return _of_texts([cell or "" for cell in cells], date_format)


def parse_date_format(text: str) -> DateFormat:
    """Return how dates are written. Raises ValueError."""
    if "%" in text:
        return text
    names = {"dmy": DayOrder.DAY_FIRST, "mdy": DayOrder.MONTH_FIRST} | {order.value: order for order in DayOrder}
    try:
        return names[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{one_line(repr(text))} is not a form of dates") from None


def _of_texts(texts: Sequence[str], date_format: DateFormat | None) -> DueColumn:
    marks = dict.fromkeys(text.strip() for text in texts if text.strip().lower() in _NO_DATE)
    if not marks:
        return _of_filled_texts(texts, date_format)
    column = _of_filled_texts(["" if text.strip() in marks else text for text in texts], date_format)
    note = f"{' and '.join(marks)} count as no date" if len(marks) > 1 else f"{next(iter(marks))} counts as no date"
    return DueColumn(column.times, "; ".join(filter(None, (column.note, note))))


def _of_filled_texts(texts: Sequence[str], date_format: DateFormat | None) -> DueColumn:
    if isinstance(date_format, str):
        return DueColumn(tuple(_each(texts, lambda text: _by_pattern(text, date_format))))
    written = _each(texts, parse_date)
    order = date_format or _common_order(written)
    moments = [None if each is None else _moment(each, order, row) for row, each in enumerate(written)]
    is_concluded = date_format is None and any(each and each.is_ambiguous for each in written)
    if not is_concluded:
        return _with_ends_of_days(moments, "")
    shown = next(each.text for each in written if each and len(each.readings) == 1)
    which = "day" if order is DayOrder.DAY_FIRST else "month"
    return _with_ends_of_days(moments, f"the {which} is read first in all dates, as {shown} shows")


def _common_order(written: Iterable[WrittenDate | None]) -> DayOrder:
    """Return the order of day and month by which all dates of a column can be read. Raises DueInvalid."""
    single: dict[DayOrder, tuple[int, str]] = {}
    ambiguous: tuple[int, WrittenDate] | None = None
    for row, each in enumerate(written):
        if each is None:
            continue
        if len(each.readings) == 1:
            single.setdefault(next(iter(each.readings)), (row, each.text))
        elif each.is_ambiguous and ambiguous is None:
            ambiguous = row, each
    if len(single) == 2:
        (_, first), (row, second) = sorted(single.values())
        raise DueInvalid(f"{first} and {second} have day and month in different order; write 2030-01-31", row)
    if ambiguous and not single:
        row, each = ambiguous
        day_first, month_first = (_spoken(each.readings[order]) for order in DayOrder)
        raise DueInvalid(
            f"{each.text} may be {day_first} or {month_first}: give --date-format day-first or month-first", row
        )
    return next(iter(single), DayOrder.DAY_FIRST)


def _moment(written: WrittenDate, order: DayOrder, row: int) -> datetime:
    """Return the time of a text, without a zone if it names none."""
    if order not in written.readings:
        raise DueInvalid(f"{written.text} is not a date with the {order.value.replace('-', ' ')}", row)
    return datetime.combine(written.readings[order], written.clock or END_OF_DAY, tzinfo=written.zone)


def _by_pattern(text: str, pattern: str) -> datetime:
    try:
        moment = datetime.strptime(text.strip(), pattern)
    except (ValueError, OverflowError):
        raise DateUnclear(f"{one_line(text, longest=60)!r} is not of the form {one_line(pattern)}") from None
    has_clock = any(directive in pattern for directive in ("%H", "%I", "%c", "%X", "%T"))
    return _placed(moment if has_clock else datetime.combine(moment, END_OF_DAY, tzinfo=moment.tzinfo))


def _of_timestamps(values: pa.ChunkedArray) -> DueColumn:
    """Convert timestamps. As `datetime` they could be out of range."""
    kind, counts = values.type, values.cast(pa.int64()).to_pylist()
    unit = _UNITS["us" if kind.unit == "ns" else kind.unit]
    if kind.unit == "ns":
        counts = [None if count is None else count // 1000 for count in counts]
    moments = _each(counts, lambda count: _since_1970(count * unit, time()))
    if kind.tz is None:
        return _with_ends_of_days(moments, "")
    return DueColumn(tuple(moment and _placed(moment.replace(tzinfo=UTC)) for moment in moments))


def _since_1970(passed: timedelta, clock: time) -> datetime:
    return datetime.combine(date(1970, 1, 1), clock) + passed


def _with_ends_of_days(moments: Sequence[datetime | None], note: str) -> DueColumn:
    """Place the times of a column. If all are midnight in no zone, a program has written dates as times."""
    present = [moment for moment in moments if moment]
    if present and all(moment.tzinfo is None and moment.time() == time() for moment in present):
        moments = [moment and datetime.combine(moment, END_OF_DAY) for moment in moments]
        note = "; ".join(
            filter(None, (note, "all times are midnight, so each is taken for a date: the end of the day"))
        )
    return DueColumn(tuple(_each(moments, _placed)), note)


def _placed(moment: datetime) -> datetime:
    """Return a time with a zone: its own, or that of this machine on that day. Raises DueInvalid."""
    try:
        placed = moment if moment.tzinfo else moment.astimezone()
        placed.astimezone(UTC)
    except (OverflowError, ValueError, OSError):  # beyond the years 1 to 9999 in another zone
        placed = moment.replace(tzinfo=UTC)
    if placed.year <= 1:
        raise DueInvalid(f"{moment} is not a time; {EXAMPLE}")
    return min(placed, LAST_DUE)


def _each(values: Iterable[Any], convert: Callable[[Any], Value]) -> list[Value | None]:
    """Convert the values that are there. Raises DueInvalid with the row of one that cannot be converted."""
    result: list[Value | None] = []
    for row, value in enumerate(values):
        if value is None or (isinstance(value, str) and not value.strip()):
            result.append(None)
            continue
        try:
            result.append(convert(value))
        except (DateUnclear, DueInvalid) as error:
            raise DueInvalid(str(error), row) from None
        except OverflowError:
            raise DueInvalid("has no end; leave it out, or name a date before the year 10000", row) from None
    return result


def _spoken(day: date) -> str:
    return f"{day.day} {day:%B}"
