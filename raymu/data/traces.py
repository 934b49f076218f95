"""A trace of requests as a table that users can write and read.

A row names a sample (column `id`), or an owner with all samples of theirs (column `owner`), and the time (column `at`:
seconds from 0 up, or timestamps, which count from the first row on). Rows with the same value in column `request` are one
request of several samples; without that column each row is a request. The rows are in the order of time.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from raymu.core.planning.trace import Trace, TracedRequest
from raymu.data.cells import find_duplicate, undo_pandas_coercion
from raymu.data.ids import as_sample_ids
from raymu.errors import TraceInvalid
from raymu.output_file import atomic_write
from raymu.text import one_line, plural

_TEXT = pa.csv.ConvertOptions(
    column_types={"id": pa.string(), "owner": pa.string(), "request": pa.string()},  # an id 007 is not 7
    strings_can_be_null=True,
)


def read_trace(path: str, *, integers: bool) -> Trace:
    """Read a CSV or Parquet file. integers: whether the run's ids are. Raises TraceInvalid, RequestInvalid."""
    table = _load(path)
    names = table.column_names
    if "at" not in names or not {"id", "owner"} & set(names):
        raise TraceInvalid(f"{path}: has columns {', '.join(names)}; a trace has at, and id or owner, or both")
    if twice := find_duplicate(names):
        raise TraceInvalid(f"{path}: has several columns called {one_line(twice)}; rename or drop the others")
    if not table.num_rows:
        raise TraceInvalid(f"{path}: the trace holds no requests; it needs at least one")
    times = _seconds(path, table["at"])
    ids, owners = (_cells(table, name) if name in names else [None] * len(times) for name in ("id", "owner"))
    keys = _cells(table, "request") if "request" in names else range(len(times))
    rows_of: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        if key is None:
            raise TraceInvalid(f"{path}: row {row + 1} lacks its request; rows with the same value are one request")
        rows_of.setdefault(key, []).append(row)
    return Trace(requests=tuple(_request(path, rows, times, ids, owners, integers) for rows in rows_of.values()))


def write_trace(trace: Trace, path: str) -> None:
    """Write a CSV or Parquet file that `read_trace` gives back. Raises TraceInvalid where that fails."""
    rows = [
        (one.at_s, number, sample_id, one.owner)
        for number, one in enumerate(trace.requests)
        for sample_id in (one.ids or (None,))
    ]
    at, number, ids, owners = zip(*rows, strict=True)
    has_integers = all(isinstance(one, int) for one in ids if one is not None)
    table = pa.table(
        {
            "at": pa.array(at, type=pa.float64()),
            "request": pa.array(number, type=pa.int64()),
            "id": pa.array(ids, type=pa.int64() if has_integers else pa.string()),
            "owner": pa.array([None if one is None else str(one) for one in owners], type=pa.string()),
        }
    )
    write = {".parquet": pq.write_table, ".csv": pa.csv.write_csv}.get(Path(path).suffix)
    if write is None:
        raise TraceInvalid(f"{path}: is of no known format; name a .parquet or a .csv file")
    try:
        with atomic_write(path) as partial:
            write(table, partial)
    except OSError as error:
        raise TraceInvalid(f"{path}: cannot be written ({one_line(error)})") from error


def _load(path: str) -> pa.Table:
    try:
        if path.endswith(".parquet"):
            return pq.read_table(path)
        if path.endswith(".csv"):
            return pa.csv.read_csv(path, convert_options=_TEXT)
    except (OSError, pa.ArrowException) as error:
        raise TraceInvalid(f"{path}: cannot be read ({one_line(error)})") from error
    raise TraceInvalid(f"{path}: is of no known format; give a .csv or a .parquet file")


def _cells(table: pa.Table, name: str) -> list[Any]:
    """None where a row has none."""
    return [undo_pandas_coercion(value) for value in table[name].to_pylist()]


def _seconds(path: str, column: pa.ChunkedArray) -> list[float]:
    """Seconds of each row. Raises TraceInvalid where they are none, or out of order."""
    kind = column.type
    if column.null_count:
        raise TraceInvalid(f"{path}: column at lacks {plural(column.null_count, 'time')}; every row needs one")
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        microseconds = column.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        first, *_ = counts = microseconds.to_pylist()
        times = [(count - first) / 1e6 for count in counts]
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        times = [float(value) for value in column.to_pylist()]
    else:
        raise TraceInvalid(f"{path}: column at holds {kind}; times are seconds, or timestamps in one format")
    for row, (one, after) in enumerate(pairwise(times), start=2):
        if after < one:
            raise TraceInvalid(f"{path}: row {row} is {one - after:g} s before the row above it; sort the rows by at")
    return times


def _request(
    path: str, rows: list[int], times: list[float], ids: list[Any], owners: list[Any], integers: bool
) -> TracedRequest:
    first = rows[0]
    where = f"{path}: row {first + 1}"
    for row in rows:
        if (ids[row] is None) == (owners[row] is None):
            raise TraceInvalid(f"{path}: row {row + 1} must name an id, or an owner, and not both")
    if {times[row] for row in rows} != {times[first]}:
        raise TraceInvalid(f"{where} and others are one request, at different times; a request comes at one time")
    if owners[first] is None and all(owners[row] is None for row in rows):
        return TracedRequest(at_s=times[first], ids=tuple(as_sample_ids([ids[row] for row in rows], integers=integers)))
    if len(rows) > 1:
        raise TraceInvalid(f"{where} and others are one request, with an owner; an owner is a request alone")
    return TracedRequest(at_s=times[first], owner=owners[first])
