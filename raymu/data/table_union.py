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
    tables = [read_file(file, names or ()) for file in files]
    for file, table in zip(files, tables, strict=True):
        require_once(file.source, table, names)
    folders = partition_columns(files, tables)
    for index, constants in enumerate(folders):
        for name, value in constants.items():
            tables[index] = tables[index].append_column(name, pa.repeat(value, tables[index].num_rows))
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
    require_once(IN_MEMORY, table, names)
    kept = [name for name in table.column_names if names is None or name in names]
    return TableUnion(table=table.select(kept), rows=table.num_rows, names=tuple(table.column_names), note="")


def require_once(source: str, table: pa.Table, names: Sequence[str] | None) -> None:
    """Raise DataInvalid if a table has a column more than once. names: The columns that are read; None for all"""
    read = table.column_names if names is None else names
    repeated = next((name for name in read if table.column_names.count(name) > 1), None)
    if repeated is not None:
        raise DataInvalid(source, f"has more than one column {one_line(repeated)}; rename or drop the others")


def read_file(file: TableFile, names: Sequence[str]) -> pa.Table:
    """Read a whole file. names: The columns that are converted if they hold files. Raises DataInvalid"""
    try:
        table = with_plain_tensors(with_pandas_index(file.read()))
        return with_embedded_files(table, names, file.system, str(PurePosixPath(file.path).parent))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataInvalid(
            file.source, f"cannot be read ({one_line(error)}); give a whole file that is there"
        ) from error


def partition_columns(files: Sequence[TableFile], tables: Sequence[pa.Table]) -> list[dict[str, pa.Scalar]]:
    """Return the values that the folders of each file give to columns. What a file has itself comes first.

    Args:
        files: The files of a table.
        tables: Their columns.
    """
    partitions = [file.partition() for file in files]
    names = dict.fromkeys(name for partition in partitions for name in partition)
    has_integers = {
        name: all(_INTEGER.fullmatch(partition.get(name) or "0") for partition in partitions) for name in names
    }
    return [
        {
            name: pa.scalar(value, pa.string()).cast(pa.int64() if has_integers[name] else pa.string())
            for name, value in partition.items()
            if name not in table.column_names
        }
        for partition, table in zip(partitions, tables, strict=True)
    ]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JoinedType:
    """The type of a column that holds the values of all files without loss, and the way to it."""

    kind: pa.DataType
    first: str
    """The first file that has the column, for messages."""
    is_plain: bool
    """Whether encodings are taken off, since files differ in them."""
    is_whole: bool
    """Whether integers become decimals of 20 digits, since some are unsigned and others are not."""

    def of(self, table: pa.Table, name: str) -> pa.ChunkedArray:
        """Return a column of a part of a file in this type. Raises DataInvalid if a value does not fit."""
        if name not in table.column_names:
            return pa.chunked_array([pa.nulls(table.num_rows, self.kind)])
        column = plain(table[name]) if self.is_plain else table[name]
        column = column.cast(_WHOLE) if self.is_whole else column
        if column.type == self.kind:
            return column
        try:
            parts = [pa.table({name: pa.nulls(0, self.kind)}), pa.table({name: column})]
            return pa.concat_tables(parts, promote_options="permissive")[name]
        except pa.ArrowException as error:
            raise _misfit(self.first, name, error) from error


def join_types(files: Sequence[TableFile], tables: Sequence[pa.Table], name: str) -> JoinedType:
    """Return the type of one column over all files.

    Args:
        files: The files.
        tables: The columns of each; the rows do not matter.
        name: The column.

    Raises:
        DataInvalid: There is no such type.
    """
    columns = {
        file.source: table[name] for file, table in zip(files, tables, strict=True) if name in table.column_names
    }
    is_plain = len({column.type for column in columns.values()}) > 1
    if is_plain:
        columns = {source: plain(column) for source, column in columns.items()}
    kinds = {column.type for column in columns.values()}
    is_whole = pa.uint64() in kinds and len(kinds) > 1 and all(pa.types.is_integer(kind) for kind in kinds)
    if is_whole:
        columns = {source: column.slice(0, 0).cast(_WHOLE) for source, column in columns.items()}
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
    parts = [pa.table({name: column.slice(0, 0)}) for column in columns.values()]
    if len(columns) < len(files):
        parts.append(pa.table({name: pa.nulls(0)}))
    try:
        kind = pa.concat_tables(parts, promote_options="permissive")[name].type
    except pa.ArrowException as error:
        raise _misfit(first, name, error) from error
    return JoinedType(kind=kind, first=first, is_plain=is_plain, is_whole=is_whole)


def _joined(files: Sequence[TableFile], tables: Sequence[pa.Table], name: str) -> pa.ChunkedArray:
    """Return one column over all files, in a type that holds the values of each without loss."""
    joined = join_types(files, tables, name)
    return pa.chunked_array([chunk for table in tables for chunk in joined.of(table, name).chunks], type=joined.kind)


def _misfit(source: str, name: str, error: pa.ArrowException) -> DataInvalid:
    return DataInvalid(
        source, f"column {one_line(name)} has types here and in other files that do not fit ({one_line(error)})"
    )
