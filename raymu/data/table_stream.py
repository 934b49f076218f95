"""A table as a stream of record batches: of files, directories and patterns, or in memory, without ever holding all of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa

from raymu.core.uri import redacted
from raymu.data.embedded_files import with_embedded_files
from raymu.data.frames import IN_MEMORY, TableData
from raymu.data.pandas_index import has_index_ranges, index_ranges, numbers_array
from raymu.data.table_files import TableFile, table_files
from raymu.data.table_union import join_types, partition_columns, read_file, read_union, require_once
from raymu.data.tensors import has_tensors_of_any_shape, with_plain_tensors
from raymu.errors import DataInvalid
from raymu.text import one_line, plural

_BATCH_BYTES = 16 * 1024 * 1024
"""Bytes of a batch, by the sizes of columns in the file."""
_FEWEST_ROWS, _MOST_ROWS = 64, 65_536


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TableStream:
    """The rows of a table, part after part."""

    source: str
    """The table, for messages."""
    names: tuple[str, ...]
    """All columns."""
    schema: pa.Schema
    """The columns that were asked for, as far as they are there, in the types in which batches have them."""
    rows: int | None
    """Rows of the table; None if its files do not say it before they are read."""
    note: str
    """What was converted, for people; empty if nothing was."""
    _read: Callable[[Sequence[str], int | None, int], Iterator[pa.Table]]

    def batches(self, names: Sequence[str], *, rows: int | None = None, skip: int = 0) -> Iterator[pa.Table]:
        """Yield the rows in their order, with some of the columns. No batch is empty.

        Args:
            names: The columns.
            rows: Most rows of a batch. The default follows from their size.
            skip: Rows at the beginning that are left out. Of Parquet, files and row groups of them are not read.

        Raises:
            DataInvalid: A file cannot be read.
        """
        return (batch for batch in self._read(names, rows, skip) if batch.num_rows)


def open_stream(data: TableData, names: Sequence[str] | None) -> TableStream:
    """Look at the columns of a table, and at their types in all of its files.

    Args:
        data: Paths or URIs of files or directories, or patterns; or a table in memory.
        names: The columns to read, if they are there; None for all.

    Raises:
        DataInvalid: A file cannot be read, or has a column twice, or one of a type that does not fit those of the others.
    """
    if not isinstance(data, str):
        return _of_memory(data, names)
    files = table_files(data)
    parts = [_Part.open(file, names or ()) for file in files]
    for part in parts:
        require_once(part.file.source, part.empty, names)
    folders = partition_columns(files, [part.empty for part in parts])
    empties = [_with_constants(part.empty, constants) for part, constants in zip(parts, folders, strict=True)]
    present = tuple(dict.fromkeys(name for empty in empties for name in empty.column_names))
    kept = [name for name in present if names is None or name in names]
    types = {name: join_types(files, empties, name) for name in kept}
    counts = [part.rows for part in parts]

    def read(columns: Sequence[str], rows: int | None, skip: int) -> Iterator[pa.Table]:
        for part, constants in zip(parts, folders, strict=True):
            if part.rows is not None and skip >= part.rows:
                skip -= part.rows
                continue
            known, skip = (0, skip) if part.rows is None else (skip, 0)
            for batch in part.batches(columns, rows, known):
                batch, skip = batch.slice(skip), max(0, skip - batch.num_rows)
                table = _with_constants(batch, {key: constants[key] for key in constants if key in columns})
                yield pa.table({name: types[name].of(table, name) for name in columns})

    return TableStream(
        source=redacted(data),
        names=present,
        schema=pa.schema([(name, types[name].kind) for name in kept]),
        rows=None if None in counts else sum(count for count in counts if count is not None),
        note=f"{redacted(data)}: {plural(len(files), 'file')} are one table" if len(files) > 1 else "",
        _read=read,
    )


def _of_memory(data: pa.Table, names: Sequence[str] | None) -> TableStream:
    union = read_union(data, names)

    def read(columns: Sequence[str], rows: int | None, skip: int) -> Iterator[pa.Table]:
        table = union.table.select(columns).slice(skip)
        return _slices(table, rows)

    return TableStream(
        source=IN_MEMORY, names=union.names, schema=union.table.schema, rows=union.rows, note=union.note, _read=read
    )


def _slices(table: pa.Table, rows: int | None) -> Iterator[pa.Table]:
    most = rows or _rows_of(table.nbytes, table.num_rows)
    return (table.slice(start, most) for start in range(0, table.num_rows, most))


def _rows_of(size: int, rows: int) -> int:
    """Return how many rows make a batch, of a table of so many bytes."""
    return max(_FEWEST_ROWS, min(_MOST_ROWS, _BATCH_BYTES * max(rows, 1) // max(size, 1)))


def _with_constants(table: pa.Table, constants: Mapping[str, pa.Scalar]) -> pa.Table:
    for name, value in constants.items():
        table = table.append_column(name, pa.repeat(value, table.num_rows))
    return table


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Part:
    """One file."""

    file: TableFile
    names: Sequence[str]
    """Columns that are converted if they hold files."""
    empty: pa.Table
    """The file's columns, without rows, and in one chunk."""
    rows: int | None
    is_read_whole: bool
    """Whether the file has to be read whole, since some types follow from its rows."""

    @classmethod
    def open(cls, file: TableFile, names: Sequence[str]) -> "_Part":
        """Look at a file. Raises DataInvalid."""
        try:
            schema, rows = file.schema()
            is_whole = schema is None or has_tensors_of_any_shape(schema)
            is_whole = is_whole or (rows is None and has_index_ranges(schema))
            if is_whole:
                table = read_file(file, names)
                empty, rows = table.slice(0, 0), table.num_rows
                empty = pa.table({name: _one_chunk(empty[name]) for name in dict.fromkeys(empty.column_names)})
            else:
                empty = _prepared(_empty(schema), names, file)
                for name in index_ranges(schema, rows) if rows is not None else ():
                    empty = empty.add_column(0, name, pa.array([], pa.int64()))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise _unreadable(file, error) from error
        return cls(file=file, names=names, empty=empty, rows=rows, is_read_whole=is_whole)

    def batches(self, columns: Sequence[str], rows: int | None, skip: int) -> Iterator[pa.Table]:
        """Yield some columns, as far as the file has them, after the first `skip` rows. Raises DataInvalid."""
        own = [name for name in columns if name in self.empty.column_names]
        if self.is_read_whole:
            yield from _slices(read_file(self.file, self.names).select(own).slice(skip), rows)
            return
        try:
            yield from self._read(own, rows, skip)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise _unreadable(self.file, error) from error

    def _read(self, own: list[str], rows: int | None, skip: int) -> Iterator[pa.Table]:
        opened = self.file.open_batches(own, lambda size, count: rows or _rows_of(size, count), skip=skip)
        with opened as (schema, start, batches):
            ranges = {} if self.rows is None else index_ranges(schema, self.rows)
            for batch in batches:
                table = _prepared(pa.Table.from_batches([batch]), self.names, self.file)
                for name, numbers in ranges.items():
                    if name in own:
                        table = table.append_column(name, numbers_array(numbers[start : start + len(batch)]))
                table = table.select(own).slice(max(0, skip - start))
                start += len(batch)
                yield from _slices(table, rows) if rows and len(table) > rows else [table]


def _prepared(table: pa.Table, names: Sequence[str], file: TableFile) -> pa.Table:
    folder = str(PurePosixPath(file.path).parent)
    return with_embedded_files(with_plain_tensors(table), names, file.system, folder)


def _empty(schema: pa.Schema) -> pa.Table:
    """Return a table without rows, each column in one chunk."""
    arrays = [_no_values(field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _no_values(kind: pa.DataType) -> pa.Array:
    return pa.nulls(0, kind)


def _one_chunk(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column if column.num_chunks else pa.chunked_array([_no_values(column.type)])


def _unreadable(file: TableFile, error: Exception) -> DataInvalid:
    return DataInvalid(file.source, f"cannot be read ({one_line(error)}); give a whole file that is there")
