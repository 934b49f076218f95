"""Due dates are read as they were meant, or refused with every reading."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from raymu.data.date_text import DayOrder
from raymu.data.due_dates import DueInvalid, due_column, parse_date_format, read_due


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


READ = {
    "2026-12-05": "2026-12-05 23:59:59+01:00",
    "2026-07-05": "2026-07-05 23:59:59+02:00",
    " 2026-12-05 ": "2026-12-05 23:59:59+01:00",
    "20261205": "2026-12-05 23:59:59+01:00",
    "2026-W49-6": "2026-12-05 23:59:59+01:00",
    "2026/12/05": "2026-12-05 23:59:59+01:00",
    "2026-12-5": "2026-12-05 23:59:59+01:00",
    "2026-12-05Z": "2026-12-05 23:59:59+00:00",
    "2026-12-05+05:30": "2026-12-05 23:59:59+05:30",
    "2026-12-05T12:00": "2026-12-05 12:00:00+01:00",
    "2026-12-05T00:00": "2026-12-05 00:00:00+01:00",
    "2026-12-05T12": "2026-12-05 12:00:00+01:00",
    "2026-12-05T12:00Z": "2026-12-05 12:00:00+00:00",
    "2026-12-05 12:00:00 UTC": "2026-12-05 12:00:00+00:00",
    "2026-12-05 12:00:00.123 +0000": "2026-12-05 12:00:00.123000+00:00",
    "2026-12-05 12:00:00.1234567-05": "2026-12-05 12:00:00.123456-05:00",
    "2026-12-05t12:00:00z": "2026-12-05 12:00:00+00:00",
    "20261205T120000Z": "2026-12-05 12:00:00+00:00",
    "2026-12-05 12:00 Europe/Berlin": "2026-12-05 12:00:00+01:00",
    "25.12.2026": "2026-12-25 23:59:59+01:00",
    "25.12.2026 14:30": "2026-12-25 14:30:00+01:00",
    "25.12.2026, 14:30:05": "2026-12-25 14:30:05+01:00",
    "12/25/2026": "2026-12-25 23:59:59+01:00",
    "12/25/2026 2:30 PM": "2026-12-25 14:30:00+01:00",
    "12/25/2026 12:05:00 AM": "2026-12-25 00:05:00+01:00",
    "5.5.2026": "2026-05-05 23:59:59+02:00",
    "25 Dec 2026": "2026-12-25 23:59:59+01:00",
    "25-Dec-2026": "2026-12-25 23:59:59+01:00",
    "Dec 25, 2026": "2026-12-25 23:59:59+01:00",
    "December 25, 2026 2:30 p.m.": "2026-12-25 14:30:00+01:00",
    "Fri, 25 Dec 2026 12:00:00 +0000": "2026-12-25 12:00:00+00:00",
    "Fri Dec 25 2026 12:00:00 GMT+0100 (CET)": "2026-12-25 12:00:00+01:00",
    "9999-12-31": "9999-12-30 00:00:00+00:00",
    "9999-12-31T23:59:59-05:00": "9999-12-30 00:00:00+00:00",
}


@pytest.mark.parametrize("text", READ)
def test_a_date_is_the_end_of_that_day_and_a_time_is_itself(text: str) -> None:
    assert str(read_due(text)) == READ[text]


REFUSED = {
    "03.04.2026": "03.04.2026 may be 3 April or 4 March: give --date-format day-first or month-first",
    "3/4/2026 12:00": "3/4/2026 12:00 may be 3 April or 4 March",
    "45000": "45000 may be a date as Excel counts days; format the column as yyyy-mm-dd",
    "45000.5": "may be a date as Excel counts days",
    "1893456000": "1893456000 may be seconds since 1970",
    "1893456000000": "may be seconds since 1970",
    "31.12.26": "31.12.26 has a year of two digits; write all four",
    "202612": "is not a time",
    "261215": "is not a time",
    "2026112": "is not a time",
    "31-DEC-26": "31-DEC-26 has a year of two digits; write all four",
    "infinity": "infinity has no end; leave it out, or name a date before the year 10000",
    "-Infinity": "has no end",
    "soon": "'soon' is not a time; write 2030-01-31 or 2030-01-31T12:00",
    "2026-13-05": "is not a time",
    "31.31.2026": "is not a time",
    "2026-12-05 25:00": "is not a time",
    "12/25/2026 14:30 PM": "is not a time",
    "2026-12-05 12:00 CET": "CET may be several zones; write it as",
    "2026-12-05 12:00 Nowhere/Land": "Nowhere/Land is not a time zone",
    "2026-12-05T12:00+99:00": "is not a time",
    "10000-01-01": "is not a time",
    "0001-01-01": "is not a time",
    "": "is not a time",
    "2026-12-05\n12:00": "is not a time",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_date_or_has_two_readings_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DueInvalid) as refusal:
        read_due(text)
    assert REFUSED[text] in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_the_form_of_a_date_may_be_given() -> None:
    assert read_due("03.04.2026", DayOrder.DAY_FIRST).date() == date(2026, 4, 3)
    assert read_due("03.04.2026", parse_date_format("month-first")).date() == date(2026, 3, 4)
    assert str(read_due("26,12,5", parse_date_format("%y,%m,%d"))) == "2026-12-05 23:59:59+01:00"
    assert str(read_due("5.12.26 7h", parse_date_format("%d.%m.%y %Hh"))) == "2026-12-05 07:00:00+01:00"
    for wrong in ("31.12.2026", "5 Dez"):
        with pytest.raises(DueInvalid, match="is not of the form %y,%m,%d"):
            read_due(wrong, parse_date_format("%y,%m,%d"))
    with pytest.raises(DueInvalid, match=r"25\.12\.2026 is not a date with the month first"):
        read_due("25.12.2026", DayOrder.MONTH_FIRST)
    with pytest.raises(ValueError, match="'american' is not a form of dates"):
        parse_date_format("american")


def test_dates_of_python_are_read_as_they_are() -> None:
    assert str(read_due(date(2026, 12, 5))) == "2026-12-05 23:59:59+01:00"
    assert read_due(datetime(2026, 12, 5, 12, tzinfo=UTC)) == datetime(2026, 12, 5, 12, tzinfo=UTC)
    assert str(read_due(datetime(2026, 12, 5, 12))) == "2026-12-05 12:00:00+01:00"
    for value in (7, 7.0, float("inf"), True, b"2026", datetime.min):
        with pytest.raises(DueInvalid, match="is not a time"):
            read_due(value)


def texts(*values: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type=pa.string())])


def test_one_date_with_a_single_reading_decides_for_its_column() -> None:
    column = due_column(texts("03.04.2026", None, "31.05.2026 12:00", " "))
    assert [moment and moment.month for moment in column.times] == [4, None, 5, None]
    assert column.note == "the day is read first in all dates, as 31.05.2026 12:00 shows"
    column = due_column(texts("3/4/2026", "5/31/2026"))
    assert [moment and moment.month for moment in column.times] == [3, 5]
    assert column.note.startswith("the month is read first")


def test_a_column_whose_dates_need_no_decision_has_no_note() -> None:
    assert due_column(texts("31.05.2026", "5.5.2026", "2026-01-02")).note == ""
    assert due_column(texts("03.04.2026", "31.05.2026"), DayOrder.DAY_FIRST).note == ""


def test_marks_of_cells_without_a_date_count_as_no_date_and_are_said() -> None:
    column = due_column(pa.chunked_array([["NULL", "2026-12-05", "\\N", " n/a", "-", "NaT", "NULL", None]]))
    assert [moment and moment.date() for moment in column.times] == [None, date(2026, 12, 5), *[None] * 6]
    assert column.note == "NULL and \\N and n/a and - and NaT count as no date"
    assert due_column(pa.chunked_array([["N/A"]])).note == "N/A counts as no date"


def test_a_column_may_be_encoded() -> None:
    days = pa.array([date(2026, 12, 5), None]).dictionary_encode()
    assert str(due_column(pa.chunked_array([days])).times[0]) == "2026-12-05 23:59:59+01:00"
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    with pytest.raises(DueInvalid, match="cannot be read"):
        due_column(pa.chunked_array([broken]))


def test_a_column_with_both_orders_or_neither_is_refused() -> None:
    with pytest.raises(
        DueInvalid, match=r"31\.05\.2026 and 05/31/2026 have day and month in different order"
    ) as refusal:
        due_column(texts("31.05.2026", "05/31/2026"))
    assert refusal.value.row == 1
    with pytest.raises(DueInvalid, match="may be 3 April or 4 March") as refusal:
        due_column(texts("2026-01-01", "03.04.2026"))
    assert refusal.value.row == 1


def test_midnight_throughout_a_column_means_dates() -> None:
    column = due_column(texts("2026-12-05 00:00:00", "06.12.2026 0:00:00", "25.12.2026 00:00"))
    assert {str(moment)[11:] for moment in column.times} == {"23:59:59+01:00"}
    assert column.note.endswith("all times are midnight, so each is taken for a date: the end of the day")
    column = due_column(texts("2026-12-05 00:00:00", "2026-12-06 12:00:00"))
    assert [str(moment)[11:] for moment in column.times] == ["00:00:00+01:00", "12:00:00+01:00"]
    assert due_column(texts("2026-12-05T00:00:00Z")).times == (datetime(2026, 12, 5, tzinfo=UTC),)


def test_dates_and_times_of_parquet_keep_their_meaning() -> None:
    noon = datetime(2026, 12, 5, 12)
    for unit in ("s", "ms", "us", "ns"):
        aware = pa.chunked_array([pa.array([noon, None], type=pa.timestamp(unit, tz="America/New_York"))])
        assert due_column(aware).times == (noon.replace(tzinfo=UTC), None)
        naive = pa.chunked_array([pa.array([noon], type=pa.timestamp(unit))])
        assert str(due_column(naive).times[0]) == "2026-12-05 12:00:00+01:00"
    for kind in (pa.date32(), pa.date64()):
        days = pa.chunked_array([pa.array([noon.date(), None], type=kind)])
        assert str(due_column(days).times[0]) == "2026-12-05 23:59:59+01:00"
    midnight = pa.chunked_array([pa.array([noon.replace(hour=0)], type=pa.timestamp("us"))])
    assert str(due_column(midnight).times[0]) == "2026-12-05 23:59:59+01:00"
    assert due_column(pa.chunked_array([pa.nulls(2)])).times == (None, None)


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.timestamp("s"), pa.timestamp("us", tz="UTC")])
@pytest.mark.parametrize("count", [2**63 - 1, -(2**63) + 1])
def test_infinity_of_databases_is_refused(kind: pa.DataType, count: int) -> None:
    column = pa.chunked_array([pa.array([0, count], type=pa.int64()).cast(kind)])
    with pytest.raises(DueInvalid, match="has no end") as refusal:
        due_column(column)
    assert refusal.value.row == 1
    days = pa.chunked_array([pa.array([2**31 - 1], type=pa.int32()).cast(pa.date32())])
    with pytest.raises(DueInvalid, match="has no end"):
        due_column(days)


@pytest.mark.parametrize("values", [[45000], [45000.5], [True], [b"2026-12-05"], [["2026-12-05"]]])
def test_a_column_of_numbers_or_of_anything_else_is_refused(values: list[object]) -> None:
    with pytest.raises(DueInvalid, match=r"is a number, and may count|is not a time"):
        due_column(pa.chunked_array([pa.array(values)]))
