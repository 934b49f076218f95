"""Many requests as a table: each row is one."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raymu.data.cells import find_duplicate, undo_pandas_coercion
from raymu.errors import RequestInvalid
from raymu.service.requests.revocation import Revocation
from raymu.text import one_line

_COLUMNS = ("id", "owner", "key", "due")


def read_requests(
    path: str, *, strategy: str | None = None, boundary: float | str | None = None, due: datetime | None = None
) -> list[Revocation]:
    """The requests of a CSV or Parquet table, with column `id` or `owner` (or both, one of them filled), `key` and `due`.

    strategy, boundary: of all; due: of those that name none. What is wrong with the table, not with a single request's
    samples, raises RequestInvalid.
    """
    try:
        columns = _parquet(path) if path.endswith(".parquet") else _csv(path)
    except (OSError, pa.ArrowException, ValueError, csv.Error) as error:  # ValueError: no UTF-8
        raise RequestInvalid(f"{path}: cannot be read ({one_line(error)}); give a CSV or Parquet table") from error
    strange = [name for name in columns if name not in _COLUMNS]
    if strange or not ("id" in columns or "owner" in columns):
        what = f"has a column {strange[0]!r}" if strange else "has neither a column id nor owner"
        raise RequestInvalid(f"{path}: {what}; a table of requests has id or owner, and may have key and due")
    rows = [dict(zip(columns, map(_given, row), strict=True)) for row in zip(*columns.values(), strict=True)]
    if not rows:
        raise RequestInvalid(f"{path}: holds no requests; give each a row below the names of the columns")
    asked: list[Revocation] = []
    for number, row in enumerate(rows, start=1):
        try:
            one = Revocation(
                ids=() if row.get("id") is None else (row["id"],),
                owner=row.get("owner"),
                strategy=strategy,
                boundary=boundary,
                due=due if row.get("due") is None else _moment(row["due"]),
                key=None if row.get("key") is None else str(row["key"]),
            )
        except RequestInvalid as error:
            raise RequestInvalid(f"{path}: row {number}: {error}; nothing was accepted") from error
        asked.append(one)
    return asked


def _csv(path: str) -> Mapping[str, Sequence[str]]:
    text = Path(path).read_text(encoding="utf-8-sig")  # spreadsheets begin a file with a byte order mark
    lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    if not lines:
        return {}
    header, *rows = lines
    _require_apart(path, header)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise RequestInvalid(f"{path}: row {number} has {len(row)} values for {len(header)} columns")
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return dict(zip((name.strip() for name in header), columns, strict=True))


def _parquet(path: str) -> Mapping[str, Sequence[Any]]:
    table = pq.ParquetFile(path).read()
    _require_apart(path, table.column_names)
    if "due" in table.column_names and pa.types.is_timestamp(table["due"].type):
        microseconds = table["due"].cast(pa.timestamp("us", tz=table["due"].type.tz), safe=False)
        table = table.set_column(table.column_names.index("due"), "due", microseconds)
    columns: dict[str, list[Any]] = table.to_pydict()
    return columns


def _require_apart(path: str, names: Sequence[str]) -> None:
    if twice := find_duplicate(names):
        raise RequestInvalid(f"{path}: has several columns called {one_line(twice)}; rename or drop the others")


def _given(value: Any) -> Any:
    """A cell; None where it is empty."""
    return value.strip() or None if isinstance(value, str) else undo_pandas_coercion(value)


def _moment(value: Any) -> datetime:
    """Without a time zone it is the local time."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.astimezone()
    except (TypeError, ValueError, OverflowError):
        shown = one_line(repr(value))
        raise RequestInvalid(f"it is due {shown}, which is no time such as 2030-01-31T12:00") from None
