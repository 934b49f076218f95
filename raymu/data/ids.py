"""The ids and owners that a request names: read from a file, and converted to the ids of a run."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow.compute as pc

from raymu.config import DataConfig
from raymu.core.records import SampleId
from raymu.data import values
from raymu.data.column_roles import Role, find_roles, is_known_name, plain_name
from raymu.data.delimited import header_cells
from raymu.data.named_file import NamedFile, read_named_file
from raymu.data.pandas_index import unread_index
from raymu.data.request_table import RequestTable, json_values, table_of
from raymu.data.scalars import as_id
from raymu.errors import RequestInvalid
from raymu.text import one_line, plural

_INTEGER = re.compile(r"([+-]?[0-9]{1,40})(?:\.0{1,20})?")
"""Pandas writes an integer of a column with gaps as 7.0."""
_OPTIONS = {Role.ID: "--ids-file", Role.OWNER: "--owner-file"}
_OF_REQUESTS = (Role.KEY, Role.DUE)
"""Columns that a file of ids does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedValues:
    """Ids or owners from a file."""

    values: tuple[SampleId, ...]
    notes: tuple[str, ...] = ()
    """What was concluded or converted, for people."""


def read_ids(path: str, data: DataConfig | None = None) -> NamedValues:
    """Read sample ids from text (one a line), a table (column `id`), JSON lines, or Parquet's only column.

    The content decides what the file is, not its name. An index of pandas is a column too. Where the run calls its ids
    otherwise, a column of that name comes first. The only column is not taken for ids if it may be something else: what the
    run calls by that name, or a table without its index.

    Args:
        path: The file, or `-` for standard input.
        data: The names of the run's columns, if there is a run.

    Raises:
        RequestInvalid: The file cannot be read, or the column of ids is not clear.
        DataInvalid: A Parquet column has something other than ids.
    """
    return _read(path, Role.ID, data)


def read_owners(path: str, data: DataConfig | None = None) -> NamedValues:
    """Read owners from a file of the same forms, with a column `owner` if it is a table. Raises as `read_ids`."""
    return _read(path, Role.OWNER, data)


def read_keys(path: str) -> NamedValues:
    """Read idempotency keys from a file of the same forms, with a column `key` if it is a table. Raises as `read_ids`."""
    return _read(path, Role.KEY, None)


def as_sample_ids(ids: Iterable[object], *, integers: bool) -> list[SampleId]:
    """Convert ids to those of a run: integers, or strings. Raises RequestInvalid for a value that is not such an id."""
    return [as_sample_id(value, integers=integers) for value in ids]


def as_sample_id(value: Any, *, integers: bool) -> SampleId:
    """Convert an id to one of a run. Raises RequestInvalid if it is not such an id."""
    shown = one_line(repr(value))
    try:
        kept = as_id(value)
        if kept == "":
            raise ValueError("no bytes")
    except ValueError:
        what = ", whose ids are integers" if integers else ": ids are integers or strings"
        raise RequestInvalid(f"{shown} is not an id of this run{what}; leave it out") from None
    if not integers:
        return str(kept)
    match = _INTEGER.fullmatch(str(kept))
    if match is None:
        raise RequestInvalid(f"{shown} is not an id of this run, whose ids are integers; leave it out")
    number = int(match[1])
    if not -(2**63) <= number < 2**63:
        raise RequestInvalid(f"{number} is not an id of this run: it does not fit 64 bits; leave it out")
    return number


def _read(path: str, role: Role, data: DataConfig | None) -> NamedValues:
    file = read_named_file(path)
    if file.format is None:
        text, note = file.text()
        if not _is_table(file, text, data):
            notes = (f"{file.name}: {note}",) if note else ()
            return NamedValues(values=tuple(_lines(text)), notes=notes)
    table = table_of(file, is_known=partial(is_known_name, data=data))
    names = table.table.column_names
    if not names:
        return NamedValues(values=())
    return _column(file, table, _index(file, table, role, data), role)


def _is_table(file: NamedFile, text: str, data: DataConfig | None) -> bool:
    """Return whether a text has a header, or is JSON. Other text has an id on each line."""
    if file.name.lower().endswith((".csv", ".tsv")) or json_values(file, text) is not None:
        return True
    return any(is_known_name(name, data) for cells in header_cells(text).values() for name in cells)


def _lines(text: str) -> list[SampleId]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and all(len(line) > 2 and line[0] == line[-1] == '"' for line in lines):
        return [line[1:-1].replace('""', '"').strip() for line in lines]
    return [*lines]


def _index(file: NamedFile, table: RequestTable, role: Role, data: DataConfig | None) -> int:
    """Return the index of the column of ids or owners. Raises RequestInvalid if it is not clear."""
    names, source = table.table.column_names, file.name
    roles = find_roles(source, names, data)
    own = {data.id, data.owner, data.risk, *data.label_columns, *data.feature_columns} if data else set()
    for other in _OF_REQUESTS:
        if role is not Role.KEY and other in roles and names[roles[other]] not in own:
            name = one_line(names[roles[other]])
            raise RequestInvalid(
                f"{source}: has a column {name}, as a table of requests; give it as --requests-file, or drop the column"
            )
    if role in roles:
        return roles[role]
    if len(names) > 1:
        raise RequestInvalid(
            f"{source}: has several columns and none is called {role}; name the {role} column {role}; it has "
            f"{one_line(', '.join(name or 'one without a name' for name in names[:20]))}"
        )
    [name] = names
    shown = one_line(name)
    if file.format is None and not is_known_name(name, data):  # without a header, the first id would be lost
        raise RequestInvalid(f"{source}: begins with {shown}, not with {role}; write {role} above the {role}s")
    if name in own | {"label"} or is_known_name(name, data):
        others = [other for other in _OPTIONS if other in roles]
        hint = "".join(f", or give the file as {_OPTIONS[other]}" for other in others)
        raise RequestInvalid(
            f"{source}: has a column {shown} alone, which is not called {role}; name the {role} column {role}{hint}"
        )
    if index := unread_index(table.table):
        raise RequestInvalid(
            f"{source}: has a column {shown}, and the {role}s may be the index {one_line(index)} that pandas left out or did "
            f"not name; write the {role}s as a column {role}"
        )
    return 0


def _column(file: NamedFile, table: RequestTable, index: int, role: Role) -> NamedValues:
    """Return the values of a column, none of them missing."""
    name, column = table.table.column_names[index], table.table.column(index)
    notes = list(table.notes)
    if file.format is not None:
        read = values.sample_ids if role is Role.ID else values.owners
        kept = read(file.name, name, column)
        notes += [f"{file.name}: {kept.note}"] if kept.note else []
        named = kept.values.tolist()
        if missing := sum(value is None for value in named):
            raise RequestInvalid(
                f"{file.name}: column {one_line(name)} lacks {plural(missing, 'value')}; drop those rows"
            )
        return NamedValues(values=tuple(named), notes=tuple(notes))
    texts = pc.utf8_trim_whitespace(column.fill_null("")).to_pylist()
    if "" in texts:
        raise RequestInvalid(
            f"{file.name}: {table.place(texts.index(''))} has no {one_line(name)}; fill it or drop the row"
        )
    if (
        plain_name(name) == name.strip()
        and not file.name.lower().endswith((".csv", ".tsv"))
        and len(table.table.columns) == 1
    ):
        notes.append(f"{file.name}: its first line, {one_line(name)}, is taken for the name of the column")
    return NamedValues(values=tuple(texts), notes=tuple(notes))
