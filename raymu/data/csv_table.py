"""CSV files as spreadsheets and programs write them: their encoding, delimiter, decimal sign and header are recognised."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import pyarrow as pa
import pyarrow.csv

from raymu.data.arrow_source import arrow_reader
from raymu.data.named_file import decoded
from raymu.errors import DataInvalid
from raymu.text import one_line

_DELIMITERS = ("\t", ";", ",", "|")
"""In the order in which they are tried: a comma may be a decimal sign between the others."""
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?|nan|[+-]?inf(inity)?", re.IGNORECASE)
_INDEX = ("", "Unnamed: 0")
"""Names of the first column if pandas wrote its index there."""
_LOOKED_AT, _ROWS = 20, 2000
"""Lines that the delimiter is recognised by, and rows that the header is."""
_MISSING = [*pyarrow.csv.ConvertOptions().null_values, "?"]
"""Texts that stand for a missing number; public data sets use a question mark."""
_YEARS = range(1900, 2101)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CsvTable:
    """A CSV file, with the types of its columns."""

    table: pa.Table
    text_of: Callable[[str], pa.ChunkedArray]
    """Returns a column as text, as it is in the file: an id 007 is not 7."""
    notes: tuple[str, ...]
    """What was recognised, for people."""


def read_csv_table(source: str, payload: bytes, *, has_header: bool | None) -> CsvTable:
    """Read a CSV file.

    Args:
        source: The file, for messages.
        payload: Its content.
        has_header: Whether the first line has the names of the columns; None recognises it.

    Raises:
        DataInvalid: It is not CSV, has two columns of one name, or its first line can be read as names and as a sample.
    """
    try:
        text, note = decoded(payload)
    except ValueError as error:
        raise DataInvalid(source, f"is neither IDX, NPZ nor CSV ({one_line(error)})") from error
    text, notes = text.lstrip("\r\n"), [note] if note else []
    delimiter = _delimiter(text)
    if delimiter is None:  # columns are separated by blanks
        text, delimiter = "\n".join(",".join(line.split()) for line in text.splitlines()), ","
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = list(islice((row for row in lines if any(map(str.strip, row))), _ROWS))
    except csv.Error as error:
        raise DataInvalid(source, f"is neither IDX, NPZ nor CSV ({one_line(error)})") from error
    header = _has_header(source, rows) if has_header is None else has_header
    names = [cell.strip() for cell in rows[0]] if header and rows else None
    if names and (repeated := [name for name, count in Counter(names).items() if count > 1]):
        raise DataInvalid(
            source, f"has several columns called {one_line(repr(repeated[0]))}; rename or drop the others"
        )
    body = rows[1:] if header else rows
    has_decimal_commas = (
        delimiter == ";"
        and not any("." in cell for row in body for cell in row)
        and any(re.fullmatch(r"[+-]?\d+,\d+", cell.strip()) for row in body for cell in row)
    )
    if has_decimal_commas:
        notes.append("commas are decimal signs")
    read = partial(
        _typed, source, text, delimiter, names or [f"f{index}" for index in range(len(rows[0]) if rows else 0)]
    )
    skipped, decimal = int(bool(header)), "," if has_decimal_commas else "."
    table = read(skipped=skipped, decimal=decimal)
    if (
        table.num_columns > 1
        and not table.column_names[-1]
        and table.column(table.num_columns - 1).null_count == len(table)
    ):
        table = table.remove_column(table.num_columns - 1)
        notes.append("a column without a name and without values was left out")
    if table.column_names and table.column_names[0] in _INDEX:
        table = _without_index(source, table)
        notes.append("the first column has no name and numbers the rows, as pandas' index does; it was left out")
    return CsvTable(
        table=table,
        text_of=lambda name: read(skipped=skipped, decimal=decimal, text_column=name)[name],
        notes=tuple(notes),
    )


def _delimiter(text: str) -> str | None:
    """Return the delimiter of the columns: the first that divides all lines into as many parts, two or more."""
    lines = [line for line in text.splitlines()[:_LOOKED_AT] if line.strip()]
    for delimiter in _DELIMITERS:
        widths = {len(row) for row in csv.reader(lines, delimiter=delimiter)}
        if len(widths) == 1 and widths.pop() > 1:
            return delimiter
    return next((mark for mark in (",", ";", "\t") if lines and mark in lines[0]), None)


def _has_header(source: str, rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first line has the names of the columns. Raises DataInvalid if it may have either."""
    first, *others = rows or [[]]
    cells = [cell.strip() for cell in first]
    numbers = [cell for cell in cells if _NUMBER.fullmatch(cell)]
    if not numbers:
        return True
    texts = [index for index, cell in enumerate(cells) if not _NUMBER.fullmatch(cell) and cell]
    below = {index: {row[index].strip() for row in others if index < len(row)} for index in texts}
    if any(values and all(_NUMBER.fullmatch(value) for value in values) for values in below.values()):
        return True  # a word above numbers alone is a name
    recurs = any(cells[index] in values for index, values in below.items())
    if others and not recurs and _may_be_names(numbers, are_all=not texts):
        shown = one_line(",".join(cells), longest=60)
        raise DataInvalid(
            source, f"begins with {shown}: these may be names of columns (give --header) or a sample (give --no-header)"
        )
    return False


def _may_be_names(numbers: Sequence[str], *, are_all: bool) -> bool:
    """Return whether numbers look like names: years, or those that pandas gives to columns, which are from 0."""
    if not all(number.isdecimal() for number in numbers):
        return False
    values = [int(number) for number in numbers]
    are_years = all(value in _YEARS for value in values) and len(set(values)) == len(values)
    are_positions = values == list(range(values[0], values[0] + len(values))) and values[0] == 0
    return (are_years or are_positions) and (not are_all or len(values) > 2)


def _typed(
    source: str,
    text: str,
    delimiter: str,
    names: list[str],
    *,
    skipped: int,
    decimal: str,
    text_column: str | None = None,
) -> pa.Table:
    """Read all columns with the types that their values have, or one as text."""
    try:
        return pyarrow.csv.read_csv(
            arrow_reader(text.encode()),
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=skipped),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                decimal_point=decimal,
                null_values=_MISSING,
                column_types=None if text_column is None else {text_column: pa.string()},
                include_columns=None if text_column is None else [text_column],
            ),
        )
    except (pa.ArrowException, ValueError) as error:
        raise DataInvalid(source, f"is neither IDX, NPZ nor CSV ({one_line(error)})") from error


def _without_index(source: str, table: pa.Table) -> pa.Table:
    """Return a table without the index that pandas wrote as its first column."""
    if table.column(0).to_pylist() != list(range(table.num_rows)):
        raise DataInvalid(
            source,
            "has a first column without a name, which may be pandas' index with the ids, or a feature: name it in the "
            "first line, and give it with --id if it has the ids",
        )
    return table.remove_column(0)
