"""A table as a stream of record batches: of files, directories and patterns, or in memory, without ever holding all of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import pyarrow as pa

from raymu.core.uri import redacted
from raymu.data.embedded_files import with_embedded_files
from raymu.data.frames import IN_MEMORY, TableData
from raymu.data.pandas_index import has_index_ranges, index_ranges, numbers_array
from raymu.data.table_files import TableFile, table_files
from raymu.data.table_union import JoinedType, join_types, partition_columns, read_file, read_union, require_once
from raymu.data.tensors import has_tensors_of_any_shape, with_plain_tensors
from raymu.errors import DataInvalid
from raymu.text import one_line, plural

_BATCH_BYTES = 8 * 1024 * 1024
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
    _files: "tuple[_File, ...]" = ()
    """The files; none for a table in memory."""

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

    def is_larger(self, names: Sequence[str], size: int) -> bool:
        """Return whether some columns have more bytes, by their sizes in the files. Raises DataInvalid."""
        if not self._files:
            return sum(batch.nbytes for batch in self.batches(names)) > size
        for file in self._files:  # until it is known, since there may be many
            size -= file.part.size(names)
            if size < 0:
                return True
        return False

    def pieces(self, names: Sequence[str], *, most_bytes: int) -> Iterator["TablePiece"]:
        """Divide the table, in the order of its rows.

        Args:
            names: The columns that are to be read.
            most_bytes: About the most of a piece, by the sizes of columns in the file. A row group is never divided.

        Yields:
            Pieces. Those of a table in memory, and of files that only one process can read, hold their rows.

        Raises:
            DataInvalid: A file cannot be read.
        """
        if not self._files:
            yield from (TablePiece(rows=batch, size=batch.nbytes) for batch in self.batches(names))
        for file in self._files:
            yield from file.pieces(names, most_bytes)


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
    own = tuple(
        _File(part=part, constants=constants, types=types) for part, constants in zip(parts, folders, strict=True)
    )

    def read(columns: Sequence[str], rows: int | None, skip: int) -> Iterator[pa.Table]:
        for file in own:
            if file.part.rows is not None and skip >= file.part.rows:
                skip -= file.part.rows
                continue
            known, skip = (0, skip) if file.part.rows is None else (skip, 0)
            for batch in file.batches(columns, rows, known):
                yield batch.slice(skip)
                skip = max(0, skip - batch.num_rows)

    return TableStream(
        source=redacted(data),
        names=present,
        schema=pa.schema([(name, types[name].kind) for name in kept]),
        rows=None if None in counts else sum(count for count in counts if count is not None),
        note=f"{redacted(data)}: {plural(len(files), 'file')} are one table" if len(files) > 1 else "",
        _read=read,
        _files=own,
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

    def row_groups(self, columns: Sequence[str]) -> list[tuple[int, int]] | None:
        """Return the rows and bytes of each row group; None if these cannot be read alone. Raises DataInvalid."""
        try:
            return None if self.is_read_whole else self.file.row_groups(columns)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise _unreadable(self.file, error) from error

    def size(self, columns: Sequence[str]) -> int:
        """Return the bytes of some columns; those of the file, where its metadata do not say it. Raises DataInvalid."""
        groups = self.row_groups(columns)
        if groups is not None:
            return sum(size for _, size in groups)
        return int(self.file.system.get_file_info([self.file.path])[0].size or 0)

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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _File:
    """One file of a table, read as the others are."""

    part: _Part
    constants: Mapping[str, pa.Scalar]
    """The values of the columns that its folders give."""
    types: Mapping[str, JoinedType]

    def batches(self, columns: Sequence[str], rows: int | None, skip: int) -> Iterator[pa.Table]:
        """Yield columns in the types that they have in the table, after the first `skip` rows. Raises DataInvalid."""
        constants = {name: value for name, value in self.constants.items() if name in columns}
        for batch in self.part.batches(columns, rows, skip):
            table = _with_constants(batch, constants)
            yield pa.table({name: self.types[name].of(table, name) for name in columns})

    def pieces(self, columns: Sequence[str], most_bytes: int) -> Iterator["TablePiece"]:
        """Divide the file. Raises DataInvalid."""
        groups = self.part.row_groups(columns)
        if groups is None:
            batches = (batch for batch in self.batches(columns, None, 0) if batch.num_rows)
            yield from (TablePiece(rows=batch, size=batch.nbytes) for batch in batches)
            return
        kept = replace(self, types={name: self.types[name] for name in columns})
        start = count = size = 0
        for rows, of_group in groups:
            if count and size + of_group > most_bytes:
                yield TablePiece(file=kept, start=start, count=count, size=size)
                start, count, size = start + count, 0, 0
            count, size = count + rows, size + of_group
        if count:
            yield TablePiece(file=kept, start=start, count=count, size=size)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TablePiece:
    """Some consecutive rows of a table, which any process can read without the others."""

    size: int
    """Bytes of the columns that are read, by their sizes in the file."""
    file: _File | None = None
    start: int = 0
    """Rows of the file before these."""
    count: int = 0
    """Rows that are read of the file."""
    rows: pa.Table | None = None
    """The rows themselves, where there is no file."""

    def batches(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the rows in their order, with some of the columns. No batch is empty. Raises DataInvalid."""
        if self.rows is not None:
            yield self.rows.select(names)
        elif self.file is not None:
            left = self.count
            for batch in self.file.batches(names, None, self.start):
                if batch.num_rows:
                    yield batch.slice(0, left)
                left -= batch.num_rows
                if left <= 0:
                    return


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
