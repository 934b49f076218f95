"""Tables in which people name samples: files of ids, requests in bulk and traces, as CSV or as pandas writes Parquet."""

import csv
import io
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raymu.data.arrow_source import open_for_arrow
from raymu.data.pandas_index import with_pandas_index
from raymu.errors import RequestInvalid
from raymu.input_file import read_input
from raymu.text import one_line

_EXACT = 2**53
"""Up to it a float represents every integer."""


def read_request_table(path: str) -> pa.Table:
    """Read a CSV or Parquet file.

    Columns of a CSV file are strings, since an id 007 is not 7; empty cells are null, and rows of empty cells are left out.
    Times of a Parquet file are in microseconds. The names of columns have no space around them.

    Args:
        path: A file whose name ends in `.parquet`, or a CSV file with a header.

    Raises:
        RequestInvalid: It cannot be read, or its rows have not as many values as its header.
    """
    try:
        return _read_parquet(path) if path.endswith(".parquet") else _read_csv(path)
    except (OSError, pa.ArrowException, ValueError, csv.Error) as error:  # ValueError: not UTF-8
        raise RequestInvalid(f"{path}: cannot be read ({one_line(error)}); give text, CSV or Parquet") from error


def require_distinct_columns(path: str, table: pa.Table) -> None:
    """Raise RequestInvalid if a column is there twice."""
    for name, count in Counter(table.column_names).items():
        if count > 1:
            raise RequestInvalid(f"{path}: has several columns called {one_line(name)}; rename or drop the others")


def cells(table: pa.Table, name: str) -> list[Any]:
    """Return the values of a column as they were meant; None in place of empty ones.

    Pandas has NaN for an empty cell, and writes integers of a column with empty cells as floats.
    """
    return [_undo_pandas_coercion(value) for value in table[name].to_pylist()]


def _read_parquet(path: str) -> pa.Table:
    with open_for_arrow(path) as file:  # by its path alone, a directory of files would be read too
        table = with_pandas_index(pq.ParquetFile(file).read())  # unlike read_table, also if a column is there twice
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            times = table.column(index).cast(pa.timestamp("us", tz=field.type.tz), safe=False)
            table = table.set_column(index, field.name, times)
    renamed = table.rename_columns([name.strip() for name in table.column_names])
    return renamed.replace_schema_metadata(table.schema.metadata)


def _read_csv(path: str) -> pa.Table:
    text = read_input(path).decode("utf-8-sig")  # spreadsheets begin a file with a byte order mark
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header, *rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)] or [(0, [])]
    names = [name.strip() for name in header[1]]
    for line, row in rows:
        if len(row) != len(names):
            raise RequestInvalid(
                f"{path}: line {line} has {len(row)} values for {len(names)} columns; put values with commas in quotes"
            )
    columns = [[row[index] or None for _, row in rows] for index in range(len(names))]
    return pa.Table.from_arrays([pa.array(column, type=pa.string()) for column in columns], names=names)


def _undo_pandas_coercion(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    if value != value:  # NaN
        return None
    return int(value) if value.is_integer() and abs(value) < _EXACT else value
