"""The ids that a request names: read from a file, and converted to the ids of a run."""

import operator
import re
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from raymu.config import DataConfig
from raymu.core.records import SampleId
from raymu.data.pandas_index import unread_index
from raymu.data.request_table import read_request_table
from raymu.data.values import sample_ids
from raymu.errors import RequestInvalid
from raymu.input_file import read_input
from raymu.text import one_line

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")


def read_ids(path: str, data: DataConfig | None = None) -> list[SampleId]:
    """Read ids from text (one a line), CSV (column `id`) or Parquet (column `id`, or the only one).

    An index of pandas is a column too. Where the run calls its ids otherwise, a column of that name comes first. The only
    column is not taken for ids if it may be something else: what the run calls by that name, or a table without its index.

    Args:
        path: The file.
        data: The names of the run's columns, if there is a run.

    Raises:
        RequestInvalid: The file cannot be read, or the column of ids is not clear.
        DataInvalid: A Parquet column has something other than ids.
    """
    if not path.endswith((".csv", ".parquet")):
        return _read_lines(path)
    table = read_request_table(path)
    names = table.column_names
    if not names:
        return []
    name = data.id if data and data.id in names else "id"
    if path.endswith(".parquet"):
        if name not in names and len(names) == 1:
            _require_ids(path, table, data)
            [name] = names
    elif name not in names and len(names) == 1:  # without a header, the first id would be lost
        raise RequestInvalid(f"{path}: begins with {one_line(names[0])}, not with id; write id above the ids")
    if names.count(name) > 1:
        raise RequestInvalid(f"{path}: has several columns called {name}; rename or drop the others")
    if name not in names:
        raise RequestInvalid(f"{path}: has several columns and none is called {name}; name the id column {name}")
    if path.endswith(".csv"):
        return [*pc.utf8_trim_whitespace(table[name].fill_null("")).to_pylist()]
    return list(sample_ids(path, name, table[name]).values.tolist())


def _require_ids(path: str, table: pa.Table, data: DataConfig | None) -> None:
    """Raise RequestInvalid if the only column, which is not called id, may hold something other than ids."""
    [name] = table.column_names
    others = {"owner", "label"} | ({data.label, data.owner, data.risk, *data.feature_columns} if data else set())
    shown = one_line(name)
    if name in others:
        raise RequestInvalid(f"{path}: has a column {shown} alone, which is not called id; name the id column id")
    if index := unread_index(table):
        raise RequestInvalid(
            f"{path}: has a column {shown}, and the ids may be the index {one_line(index)} that pandas left out or did not "
            "name; write the ids as a column id"
        )


def as_sample_ids(values: Iterable[SampleId], *, integers: bool) -> list[SampleId]:
    """Convert ids to those of a run: integers, or strings. Raises RequestInvalid for a value that is not such an id."""
    return [_as_integer(value) if integers else _as_text(value) for value in values]


def _read_lines(path: str) -> list[SampleId]:
    try:
        lines = read_input(path).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:  # ValueError: not UTF-8
        raise RequestInvalid(f"{path}: cannot be read ({one_line(error)}); give text, CSV or Parquet") from error
    return [line.strip() for line in lines if line.strip()]


def _as_integer(value: SampleId) -> int:
    try:
        if isinstance(value, bool) or (isinstance(value, str) and not _INTEGER.fullmatch(value.strip())):
            raise TypeError("not an integer")
        number = int(value) if isinstance(value, str) else operator.index(value)
    except TypeError:
        shown = one_line(repr(value))
        raise RequestInvalid(f"{shown} is not an id of this run, whose ids are integers; leave it out") from None
    if not -(2**63) <= number < 2**63:
        raise RequestInvalid(f"{number} is not an id of this run: it does not fit 64 bits; leave it out")
    return number


def _as_text(value: SampleId) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        shown = one_line(repr(value))
        raise RequestInvalid(f"{shown} is not an id of this run: ids are integers or strings; leave it out")
    return str(value)
