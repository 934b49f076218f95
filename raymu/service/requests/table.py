"""Requests in bulk: a table in which each row is a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import pyarrow as pa

from raymu.config import DataConfig
from raymu.core.records import SampleId
from raymu.data import values
from raymu.data.column_roles import Role, find_roles, is_known_name, require_no_misspelling
from raymu.data.due_dates import DateFormat, DueInvalid, due_column
from raymu.data.request_table import RequestTable, cells, read_request_table
from raymu.errors import DataInvalid, RequestInvalid
from raymu.service.requests.admission_rules import chosen_boundary, chosen_strategy
from raymu.service.requests.revocation import Revocation
from raymu.text import one_line

_MAX_NAMED = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestRows:
    """The requests of a table."""

    revocations: tuple[Revocation, ...]
    rows: tuple[int, ...]
    """The row of each, from 1 below the header. Blank lines of a text file are not counted."""
    lines: tuple[int, ...] | None
    """The line of the file in which each ends; None if the file has no lines."""
    notes: tuple[str, ...]
    """What was concluded, converted and left out, for people."""


def read_requests(
    path: str,
    data: DataConfig | None = None,
    *,
    strategy: str | None = None,
    boundary: float | str | None = None,
    due: datetime | None = None,
    date_format: DateFormat | None = None,
    ignore_unknown: bool = False,
) -> RequestRows:
    """Read the requests of a table: CSV with any delimiter, JSON lines, Parquet, Arrow or Feather.

    Args:
        path: A table with column `id` or `owner`, or both with one of them filled, and perhaps `key`, `due`, `strategy` and
            `boundary`. `-` is standard input. Other columns are not used.
        data: The names of the run's columns, if there is a run.
        strategy: Strategy of requests that have none in the table.
        boundary: Hybrid boundary of requests that have none in the table.
        due: Due time of requests that have none in the table.
        date_format: How the dates of the table are written, if they have two readings.
        ignore_unknown: Whether the requests leave out what is unknown or revoked.

    Raises:
        RequestInvalid: The table is not one of requests. Samples that a request names are not looked up.
    """
    table = read_request_table(path, is_known=partial(is_known_name, data=data))
    names, source = table.table.column_names, table.source
    roles = find_roles(source, names, data)
    require_no_misspelling(source, names, roles)
    if not {Role.ID, Role.OWNER} & roles.keys():
        has = one_line(", ".join(name or "one without a name" for name in names[:_MAX_NAMED])) or "none"
        raise RequestInvalid(
            f"{source}: has neither a column id nor owner (its columns: {has}); a table of requests has id or owner, and may "
            "have key, due, strategy and boundary"
        )
    if not table.table.num_rows:
        raise RequestInvalid(f"{source}: holds no requests; give each a row below the names of the columns")
    notes = [*table.notes]
    columns: dict[Role, Sequence[Any]] = {
        role: _values(table, role, index, notes) for role, index in roles.items() if role is not Role.DUE
    }
    if Role.DUE in roles:
        columns[Role.DUE] = _due_dates(table, roles[Role.DUE], date_format, notes)
    notes += _unused(table, roles)
    revocations, rows = [], []
    for number, row_values in enumerate(zip(*columns.values(), strict=True)):
        row = dict(zip(columns, row_values, strict=True))
        if table.lines is None and all(value is None for value in row_values):
            continue
        try:
            revocation = _request(row, strategy=strategy, boundary=boundary, due=due, ignore_unknown=ignore_unknown)
        except RequestInvalid as error:
            raise RequestInvalid(f"{source}: {table.place(number)}: {error}; nothing was accepted") from error
        revocations.append(revocation)
        rows.append(number + 1)
    return RequestRows(revocations=tuple(revocations), rows=tuple(rows), lines=table.lines, notes=tuple(notes))


def _request(
    row: Mapping[Role, Any],
    *,
    strategy: str | None,
    boundary: float | str | None,
    due: datetime | None,
    ignore_unknown: bool,
) -> Revocation:
    sample_id, key = row.get(Role.ID), row.get(Role.KEY)
    own_strategy, own_boundary = row.get(Role.STRATEGY), row.get(Role.BOUNDARY)
    return Revocation(
        ids=() if sample_id is None else (sample_id,),
        owner=row.get(Role.OWNER),
        strategy=strategy if own_strategy is None else chosen_strategy(str(own_strategy).lower()),
        boundary=boundary if own_boundary is None else str(chosen_boundary(own_boundary)),
        due=row.get(Role.DUE) or due,
        key=None if key is None else str(key),
        ignore_unknown=ignore_unknown,
    )


def _values(table: RequestTable, role: Role, index: int, notes: list[str]) -> Sequence[Any]:
    """Return the values of a column, None in place of empty ones, and add to the notes what was converted."""
    name = table.table.column_names[index]
    column = pa.table({name: table.table.column(index)})
    if table.lines is None and role in {Role.ID, Role.OWNER}:
        try:
            kept = values.owners(table.source, name, column[name])
        except DataInvalid as error:
            if not pa.types.is_floating(column[name].type):  # a fraction is refused by itself
                raise RequestInvalid(f"{error}; nothing was accepted") from error
        else:
            notes += [f"{table.source}: {kept.note}"] if kept.note else []
            identities: list[SampleId | None] = kept.values.tolist()
            return identities
    try:
        return [_filled(value) for value in cells(column, name)]
    except (OverflowError, ValueError, pa.ArrowException) as error:
        problem = f"{table.source}: column {one_line(name)} cannot be read ({one_line(error)}); nothing was accepted"
        raise RequestInvalid(problem) from error


def _due_dates(
    table: RequestTable, index: int, date_format: DateFormat | None, notes: list[str]
) -> Sequence[datetime | None]:
    """Return the due dates of a table, and add to the notes how they were read. Raises RequestInvalid."""
    try:
        column = due_column(table.table.column(index), date_format)
    except DueInvalid as error:
        where = table.source if error.row is None else f"{table.source}: {table.place(error.row)}"
        raise RequestInvalid(f"{where}: due {error}; nothing was accepted") from error
    notes += (
        [f"{table.source}: column {one_line(table.table.column_names[index])}: {column.note}"] if column.note else []
    )
    return column.times


def _unused(table: RequestTable, roles: Mapping[Role, int]) -> list[str]:
    """Return a line that names the columns that are not used; none for pandas' index, which has no name."""
    names = [
        one_line(name)
        for index, name in enumerate(table.table.column_names)
        if index not in roles.values() and name and not name.startswith(("Unnamed: ", "__index_level_"))
    ]
    if not names:
        return []
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    which = f"column {names[0]} is" if len(names) == 1 else f"columns {', '.join(names[:_MAX_NAMED])}{more} are"
    return [f"{table.source}: {which} not used"]


def _filled(value: Any) -> Any:
    """Return a cell without the space around its text; None if it is empty."""
    return value.strip() or None if isinstance(value, str) else value
