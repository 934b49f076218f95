"""One table from all files of a location: their columns, those of their folders, and of pandas' indexes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa

from raymu.core.uri import redacted
from raymu.data.arrow_values import INTEGER_TEXT, plain
from raymu.data.embedded_files import with_embedded_files
from raymu.data.frames import IN_MEMORY, TableData
from raymu.data.pandas_index import with_pandas_index
from raymu.data.table_files import TableFile, table_files
from raymu.data.tensors import with_plain_tensors
from raymu.errors import DataInvalid
from raymu.text import one_line, plural

_INTEGER = re.compile(INTEGER_TEXT)
_WHOLE = pa.decimal128(20, 0)
"""Holds integers of 64 bits with a sign and without."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TableUnion:
    """The rows of all files."""

    table: pa.Table
    """The columns that were asked for, as far as a file has them."""
    rows: int
    names: tuple[str, ...]
    """All columns of the files."""
    note: str
    """What was converted, for people; empty if nothing was."""


def read_union(data: TableData, names: Sequence[str] | None) -> TableUnion:
    """Read columns of all files of a location. Columns that some files lack are missing there.

    Args:
        data: Paths or URIs of files or directories, or patterns; or a table in memory.
        names: The columns to read, if they are there; None for all.

    Raises:
        DataInvalid: A file cannot be read, or has a column twice, or one of a type that does not fit those of the others.
    """
    if not isinstance(data, str):
        return _of_memory(data, names)
    files = table_files(data)
    tables = [_read(file, names or ()) for file in files]
    for file, table in zip(files, tables, strict=True):
        _require_once(file.source, table, names)
    tables = _with_partitions(files, tables)
    present = tuple(dict.fromkeys(name for table in tables for name in table.column_names))
    kept = [name for name in present if names is None or name in names]
    columns = {name: _joined(files, tables, name) for name in kept}
    note = f"{redacted(data)}: {plural(len(files), 'file')} are one table" if len(files) > 1 else ""
    return TableUnion(table=pa.table(columns), rows=sum(table.num_rows for table in tables), names=present, note=note)


def _of_memory(data: pa.Table, names: Sequence[str] | None) -> TableUnion:
    try:
        table = with_embedded_files(with_plain_tensors(with_pandas_index(data)), names or ())
    except (pa.ArrowException, ValueError) as error:
        raise DataInvalid(IN_MEMORY, f"cannot be read ({one_line(error)}); mend it") from error
    _require_once(IN_MEMORY, table, names)
    kept = [name for name in table.column_names if names is None or name in names]
    return TableUnion(table=table.select(kept), rows=table.num_rows, names=tuple(table.column_names), note="")


def _require_once(source: str, table: pa.Table, names: Sequence[str] | None) -> None:
    read = table.column_names if names is None else names
    repeated = next((name for name in read if table.column_names.count(name) > 1), None)
    if repeated is not None:
        raise DataInvalid(source, f"has more than one column {one_line(repeated)}; rename or drop the others")


def _read(file: TableFile, names: Sequence[str]) -> pa.Table:
    try:
        table = with_plain_tensors(with_pandas_index(file.read()))
        return with_embedded_files(table, names, file.system, str(PurePosixPath(file.path).parent))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataInvalid(
            file.source, f"cannot be read ({one_line(error)}); give a whole file that is there"
        ) from error


def _with_partitions(files: Sequence[TableFile], tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Return the tables with the columns that folders give a value to. What a file has itself comes first."""
    partitions = [file.partition() for file in files]
    names = dict.fromkeys(name for partition in partitions for name in partition)
    has_integers = {
        name: all(_INTEGER.fullmatch(partition.get(name) or "0") for partition in partitions) for name in names
    }
    extended = []
    for table, partition in zip(tables, partitions, strict=True):
        for name, value in partition.items():
            if name not in table.column_names:
                column = pa.array([value] * table.num_rows, type=pa.string())
                table = table.append_column(name, column.cast(pa.int64()) if has_integers[name] else column)
        extended.append(table)
    return extended


def _joined(files: Sequence[TableFile], tables: Sequence[pa.Table], name: str) -> pa.ChunkedArray:
    """Return one column over all files, in a type that holds the values of each without loss."""
    columns = {
        file.source: table[name] for file, table in zip(files, tables, strict=True) if name in table.column_names
    }
    if len({column.type for column in columns.values()}) > 1:
        columns = {source: plain(column) for source, column in columns.items()}
    kinds = {column.type for column in columns.values()}
    if pa.uint64() in kinds and len(kinds) > 1 and all(pa.types.is_integer(kind) for kind in kinds):
        columns = {source: column.cast(_WHOLE) for source, column in columns.items()}
    first, *_ = columns
    joined = None
    for source, column in columns.items():
        schema = pa.schema([(name, column.type)])
        try:
            joined = schema if joined is None else pa.unify_schemas([joined, schema], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            raise DataInvalid(
                source,
                f"column {one_line(name)} is {one_line(column.type)} here, and {one_line(columns[first].type)} in {first}; "
                "write it in one type",
            ) from error
    parts = [
        pa.table({name: columns.get(file.source, pa.nulls(table.num_rows))})
        for file, table in zip(files, tables, strict=True)
    ]
    try:
        return pa.concat_tables(parts, promote_options="permissive")[name]
    except pa.ArrowException as error:
        raise DataInvalid(
            first, f"column {one_line(name)} has types here and in other files that do not fit ({one_line(error)})"
        ) from error
