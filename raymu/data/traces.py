"""Traces of requests as tables that users write and read.

A row names a sample (column `id`), or an owner with all samples of theirs (column `owner`), and the time (column `at`:
seconds from 0 up, or timestamps, which count from the first row on). Rows with the same value in column `request` are one
request of several samples; without that column each row is a request. The rows are in the order of time.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from raymu.core.planning.trace import Trace, TracedRequest
from raymu.data.ids import as_sample_ids
from raymu.data.request_table import cells, read_request_table, require_distinct_columns
from raymu.errors import TraceInvalid
from raymu.output_file import atomic_write
from raymu.text import one_line, plural

_WRITERS = {".parquet": pq.write_table, ".csv": pa.csv.write_csv}
_TIMES = (pa.float64(), pa.timestamp("us", tz="UTC"), pa.timestamp("us"))
"""Types that text in column `at` is read as, in this order."""


def read_trace(path: str, *, integers: bool) -> Trace:
    """Read a CSV or Parquet file.

    Args:
        path: Path of the file.
        integers: Whether the run's ids are integers.

    Raises:
        TraceInvalid: It is not a trace.
        RequestInvalid: It cannot be read, or names an id that the run cannot have.
    """
    if Path(path).suffix not in _WRITERS:
        raise TraceInvalid(f"{path}: is of no known format; give a .csv or a .parquet file")
    table = read_request_table(path).table
    names = table.column_names
    if not names:
        raise TraceInvalid(f"{path}: cannot be read (it is empty)")
    if "at" not in names or not {"id", "owner"} & set(names):
        raise TraceInvalid(f"{path}: has columns {', '.join(names)}; a trace has at, and id or owner, or both")
    require_distinct_columns(path, table)
    if not table.num_rows:
        raise TraceInvalid(f"{path}: the trace has no requests; it needs at least one")
    times = _seconds(path, table["at"])
    ids, owners = (cells(table, name) if name in names else [None] * len(times) for name in ("id", "owner"))
    keys = cells(table, "request") if "request" in names else range(len(times))
    rows_of: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        if key is None:
            raise TraceInvalid(f"{path}: row {row + 1} lacks its request; rows with the same value are one request")
        rows_of.setdefault(key, []).append(row)
    return Trace(requests=tuple(_request(path, rows, times, ids, owners, integers) for rows in rows_of.values()))


def write_trace(trace: Trace, path: str) -> None:
    """Write a CSV or Parquet file that `read_trace` reads. Raises TraceInvalid if it cannot be written."""
    rows = [
        (request.at_s, number, sample_id, request.owner)
        for number, request in enumerate(trace.requests)
        for sample_id in (request.ids or (None,))
    ]
    at, number, ids, owners = zip(*rows, strict=True)
    has_integers = all(isinstance(sample_id, int) for sample_id in ids if sample_id is not None)
    table = pa.table(
        {
            "at": pa.array(at, type=pa.float64()),
            "request": pa.array(number, type=pa.int64()),
            "id": pa.array(ids, type=pa.int64() if has_integers else pa.string()),
            "owner": pa.array([None if owner is None else str(owner) for owner in owners], type=pa.string()),
        }
    )
    write = _WRITERS.get(Path(path).suffix)
    if write is None:
        raise TraceInvalid(f"{path}: is of no known format; name a .parquet or a .csv file")
    try:
        with atomic_write(path) as partial:
            write(table, partial)
    except OSError as error:
        raise TraceInvalid(f"{path}: cannot be written ({one_line(error)})") from error


def _seconds(path: str, column: pa.ChunkedArray) -> list[float]:
    """Convert times to seconds. Raises TraceInvalid if one is missing, out of order, or not a time."""
    if column.null_count:
        raise TraceInvalid(f"{path}: column at lacks {plural(column.null_count, 'time')}; every row needs one")
    if pa.types.is_string(column.type):
        column = _parsed(path, column)
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        microseconds = column.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        first, *_ = counts = microseconds.to_pylist()
        times = [(count - first) / 1e6 for count in counts]
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        times = [float(value) for value in column.to_pylist()]
    else:
        raise TraceInvalid(f"{path}: column at has {kind}; times are seconds, or timestamps in one format")
    for row, (before, after) in enumerate(pairwise(times), start=2):
        if after < before:
            raise TraceInvalid(
                f"{path}: row {row} is {before - after:g} s before the row above it; sort the rows by at"
            )
    return times


def _parsed(path: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Parse text as numbers or timestamps. Raises TraceInvalid."""
    trimmed = pc.utf8_trim_whitespace(column)
    for kind in _TIMES:
        try:
            return trimmed.cast(kind)
        except pa.ArrowInvalid:
            continue
    raise TraceInvalid(f"{path}: column at has text; times are seconds, or timestamps in one format")


def _request(
    path: str, rows: Sequence[int], times: Sequence[float], ids: Sequence[Any], owners: Sequence[Any], integers: bool
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
