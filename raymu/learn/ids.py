"""The ids that a request names: from a file, and as the run has them."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raymu.core.records import SampleId
from raymu.errors import RequestInvalid


def read_ids(path: str) -> list[SampleId]:
    """Ids of a request: text (one a line), CSV or Parquet (column `id`, or the only one). Raises RequestInvalid."""
    try:
        if path.endswith(".parquet"):
            table = pq.read_table(path)
            return list(table.column(_id_column(path, table.column_names)).to_pylist())
        text = Path(path).read_text(encoding="utf-8-sig")  # spreadsheets begin a file with a byte order mark
        rows = list(csv.reader(text.splitlines())) if path.endswith(".csv") else [[line] for line in text.splitlines()]
    except (OSError, pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise RequestInvalid(f"{path}: cannot be read ({_one_line(error)}); give text, CSV or Parquet") from error
    column = 0
    if path.endswith(".csv") and rows:
        column = _id_column(path, rows.pop(0))
    return [row[column].strip() for row in rows if "".join(row).strip()]


def as_sample_ids(values: Iterable[SampleId], *, integers: bool) -> list[SampleId]:
    """Ids as the run has them: integers, or strings. Raises RequestInvalid for a value that is no such id."""
    if not integers:
        return [str(value) for value in values]
    converted: list[SampleId] = []
    for value in values:
        try:
            number = int(value)
            if not isinstance(value, str) and number != value:
                raise ValueError("a fraction")
        except (ValueError, TypeError, OverflowError):
            raise RequestInvalid(f"{value!r} is no id of this run, whose ids are integers") from None
        if not -(2**63) <= number < 2**63:
            raise RequestInvalid(f"{value} is no id of this run: it does not fit 64 bits")
        converted.append(number)
    return converted


def _id_column(path: str, names: Sequence[str]) -> int:
    """The place of column `id`, or of the only one."""
    if "id" in names:
        return names.index("id")
    if len(names) > 1:
        raise RequestInvalid(f"{path}: has several columns and none is called id; name the id column id")
    if names and _is_number(names[0]):  # taken for a header, this id would be kept
        raise RequestInvalid(f"{path}: begins with {names[0]}, not with a header; write id above the ids")
    return 0


def _is_number(text: str) -> bool:
    return text.strip().lstrip("-").isdecimal()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
