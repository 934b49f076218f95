"""The ids that a request names: from a file, and as the run has them."""

import csv
import io
import operator
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raymu.core.records import SampleId
from raymu.data.columns import Column
from raymu.errors import RequestInvalid
from raymu.text import one_line

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")


def read_ids(path: str) -> list[SampleId]:
    """Ids of a request: text (one a line), CSV (column `id`) or Parquet (column `id`, or the only one).

    Raises RequestInvalid; DataInvalid where a Parquet column holds something else.
    """
    try:
        if path.endswith(".parquet"):
            with open(path, "rb") as file:  # by its path alone, a directory of files would be read too
                return _of_table(path, pq.read_table(file))
        text = Path(path).read_text(encoding="utf-8-sig")  # spreadsheets begin a file with a byte order mark
        return _of_csv(path, text) if path.endswith(".csv") else _filled(text.splitlines())
    except (OSError, pa.ArrowException, ValueError, csv.Error) as error:  # ValueError: no UTF-8
        raise RequestInvalid(f"{path}: cannot be read ({one_line(error)}); give text, CSV or Parquet") from error


def as_sample_ids(values: Iterable[SampleId], *, integers: bool) -> list[SampleId]:
    """Ids as the run has them: integers, or strings. Raises RequestInvalid for a value that is no such id."""
    return [_as_integer(value) if integers else _as_text(value) for value in values]


def _of_table(path: str, table: pa.Table) -> list[SampleId]:
    if not table.num_columns:
        return []
    name = "id" if table.num_columns > 1 else table.column_names[0]
    _require_column(path, table.column_names, name)
    ids: list[SampleId] = Column.of(path, table, name).named().to_pylist()
    return ids


def _of_csv(path: str, text: str) -> list[SampleId]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = [(reader.line_num, _trimmed(row)) for row in reader if _filled(row)]
    if not rows:
        return []
    (_, header), *rest = rows
    if "id" not in header and len(header) == 1:  # no header, maybe: what is taken for one, and is an id, would be kept
        raise RequestInvalid(f"{path}: begins with {one_line(header[0])}, not with id; write id above the ids")
    _require_column(path, header, "id")
    column = header.index("id")
    for line, row in rest:
        if len(row) != len(header):
            raise RequestInvalid(
                f"{path}: line {line} has {len(row)} values for {len(header)} columns; put values with commas in quotes"
            )
    return [row[column] for _, row in rest]


def _require_column(path: str, names: Sequence[str], name: str) -> None:
    """Raises RequestInvalid unless it is there once."""
    if names.count(name) > 1:
        raise RequestInvalid(f"{path}: has several columns called {name}; rename or drop the others")
    if name not in names:
        raise RequestInvalid(f"{path}: has several columns and none is called {name}; name the id column {name}")


def _trimmed(cells: Iterable[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _filled(cells: Iterable[str]) -> list[SampleId]:
    return [cell for cell in _trimmed(cells) if cell]


def _as_integer(value: SampleId) -> int:
    try:
        if isinstance(value, bool) or (isinstance(value, str) and not _INTEGER.fullmatch(value.strip())):
            raise TypeError("no integer")
        number = int(value) if isinstance(value, str) else operator.index(value)
    except TypeError:
        shown = one_line(repr(value))
        raise RequestInvalid(f"{shown} is no id of this run, whose ids are integers; leave it out") from None
    if not -(2**63) <= number < 2**63:
        raise RequestInvalid(f"{number} is no id of this run: it does not fit 64 bits; leave it out")
    return number


def _as_text(value: SampleId) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        shown = one_line(repr(value))
        raise RequestInvalid(f"{shown} is no id of this run: ids are integers or strings; leave it out")
    return str(value)
