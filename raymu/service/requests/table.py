"""Requests in bulk: a table in which each row is a request."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from raymu.data.request_table import cells, read_request_table, require_distinct_columns
from raymu.errors import RequestInvalid
from raymu.service.requests.revocation import Revocation
from raymu.text import one_line

_COLUMNS = ("id", "owner", "key", "due")


def read_requests(
    path: str, *, strategy: str | None = None, boundary: float | str | None = None, due: datetime | None = None
) -> list[Revocation]:
    """Read the requests of a CSV or Parquet table.

    Args:
        path: A table with column `id` or `owner`, or both with one of them filled, and perhaps `key` and `due`.
        strategy: Strategy of all requests.
        boundary: Hybrid boundary of all requests.
        due: Due time of requests that have none in the table.

    Raises:
        RequestInvalid: The table is not one of requests. Samples that a request names are not looked up.
    """
    table = read_request_table(path)
    require_distinct_columns(path, table)
    unknown = [name for name in table.column_names if name not in _COLUMNS]
    if unknown or not {"id", "owner"} & set(table.column_names):
        problem = f"has a column {unknown[0]!r}" if unknown else "has neither a column id nor owner"
        raise RequestInvalid(f"{path}: {problem}; a table of requests has id or owner, and may have key and due")
    if not table.num_rows:
        raise RequestInvalid(f"{path}: holds no requests; give each a row below the names of the columns")
    columns = {name: cells(table, name) for name in table.column_names}
    requests: list[Revocation] = []
    for number, values in enumerate(zip(*columns.values(), strict=True), start=1):
        row = dict(zip(columns, map(_filled, values), strict=True))
        try:
            requests.append(_request(row, strategy=strategy, boundary=boundary, due=due))
        except RequestInvalid as error:
            raise RequestInvalid(f"{path}: row {number}: {error}; nothing was accepted") from error
    return requests


def _request(
    row: Mapping[str, Any], *, strategy: str | None, boundary: float | str | None, due: datetime | None
) -> Revocation:
    sample_id, key, own_due = row.get("id"), row.get("key"), row.get("due")
    return Revocation(
        ids=() if sample_id is None else (sample_id,),
        owner=row.get("owner"),
        strategy=strategy,
        boundary=boundary,
        due=due if own_due is None else _time(own_due),
        key=None if key is None else str(key),
    )


def _filled(value: Any) -> Any:
    """Return a cell without the space around its text; None if it is empty."""
    return value.strip() or None if isinstance(value, str) else value


def _time(value: Any) -> datetime:
    """Convert a time; without a zone it is local. Raises RequestInvalid."""
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return time if time.tzinfo else time.astimezone()
    except (TypeError, ValueError, OverflowError):
        shown = one_line(repr(value))
        raise RequestInvalid(f"due {shown} is not an ISO 8601 time (example: 2030-01-31T12:00)") from None
