"""Tables in which people name samples: files of ids, requests in bulk and traces, in any format that tools write."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raymu.data.arrow_source import arrow_reader
from raymu.data.delimited import read_delimited
from raymu.data.named_file import NamedFile, read_named_file, unreadable
from raymu.data.pandas_index import with_pandas_index
from raymu.data.table_formats import read_format
from raymu.errors import RequestInvalid
from raymu.text import one_line

_EXACT = 2**53
"""Up to it a float represents every integer."""
_JSON_BEGINS = ("{", "[")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RequestTable:
    """A table that names samples."""

    source: str
    """The file as the user named it."""
    table: pa.Table
    """Columns of text files are strings, since an id 007 is not 7; empty cells are null. No name has space around it."""
    lines: tuple[int, ...] | None = None
    """The line of the file in which each row ends; None if the file has no lines."""
    notes: tuple[str, ...] = ()
    """What was concluded while it was read, each with the name of the file."""

    def place(self, row: int) -> str:
        """Return where a row is, counted from 1 below the header, and its line in the file."""
        return f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}, row {row + 1}"


def read_request_table(path: str, *, is_known: Callable[[str], bool] = lambda _name: False) -> RequestTable:
    """Read CSV with any delimiter, JSON lines, Parquet, Arrow or Feather. The content decides, not the file's name.

    Lines of blank cells are left out.

    Args:
        path: A file, or `-` for standard input.
        is_known: Whether a column of this name is looked for, which tells delimiters apart.

    Raises:
        RequestInvalid: It cannot be read, or its rows have not as many values as its header.
    """
    return table_of(read_named_file(path), is_known=is_known)


def table_of(file: NamedFile, *, is_known: Callable[[str], bool] = lambda _name: False) -> RequestTable:
    """Read the table in a file, as `read_request_table` does."""
    if file.format is not None:
        try:
            return RequestTable(source=file.name, table=_named(read_format(arrow_reader(file.content), file.format)))
        except (OSError, pa.ArrowException, ValueError, KeyError) as error:
            raise unreadable(file.name, error) from error
    text, note = file.text()
    notes = (f"{file.name}: {note}",) if note else ()
    if (values := json_values(file, text)) is not None:
        return RequestTable(source=file.name, table=_json_table(values), notes=notes)
    cells = read_delimited(file.name, text, is_known=is_known)
    columns = [
        pa.array([row[index] or None for row in cells.rows], type=pa.string()) for index in range(len(cells.names))
    ]
    table = pa.Table.from_arrays(columns, names=list(cells.names))
    return RequestTable(source=file.name, table=table, lines=cells.lines, notes=notes)


def require_distinct_columns(source: str, table: pa.Table) -> None:
    """Raise RequestInvalid if a column is there twice."""
    for name, count in Counter(table.column_names).items():
        if count > 1:
            raise RequestInvalid(f"{source}: has several columns called {one_line(name)}; rename or drop the others")


def cells(table: pa.Table, name: str) -> list[Any]:
    """Return the values of a column as they were meant; None in place of empty ones.

    Pandas has NaN for an empty cell, and writes integers of a column with empty cells as floats.
    """
    column = table[name]
    if pa.types.is_timestamp(column.type):  # those of nanoseconds need pandas
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    return [_undo_pandas_coercion(value) for value in column.to_pylist()]


def _named(table: pa.Table) -> pa.Table:
    """Return a table with pandas' index as columns, and without space around the names."""
    table = with_pandas_index(table)
    renamed = table.rename_columns([name.strip() for name in table.column_names])
    return renamed.replace_schema_metadata(table.schema.metadata)


def json_values(file: NamedFile, text: str) -> list[Any] | None:
    """Return the values of JSON lines, or of one list, with their numbers as text; None if the text is something else.

    Raises RequestInvalid if the name of the file says JSON, and it is not.
    """
    is_called_json = file.name.lower().endswith((".json", ".jsonl", ".ndjson"))
    if not is_called_json and not text.lstrip().startswith(_JSON_BEGINS):
        return None
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)  # some integers are beyond 64 bits
    try:
        if text.lstrip().startswith("["):
            return list(decoder.decode(text))
        return [decoder.decode(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        if is_called_json:
            raise unreadable(file.name, error) from error
        return None


def _json_table(values: list[Any]) -> pa.Table:
    """Return objects as rows. A value that is no object is an id."""
    rows = [value if isinstance(value, dict) else {"id": value} for value in values]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [pa.array([_json_cell(row.get(name)) for row in rows], type=pa.string()) for name in names]
    return pa.Table.from_arrays(columns, names=[name.strip() for name in names])


def _json_cell(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _undo_pandas_coercion(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    if value != value:  # NaN
        return None
    return int(value) if value.is_integer() and abs(value) < _EXACT else value
