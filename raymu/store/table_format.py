"""The Parquet of a run's tables: the same rows give the same bytes, written in one go or row group by row group."""

from typing import IO, Any

import pyarrow as pa

from raymu.data.shard_rows import ShardRows

GROUP_ROWS = 2**20
"""Rows of a row group, as pyarrow has them by default. Another number would give other bytes."""
_RELEASED_BYTES = 4 * 2**20
"""Bytes that are written before memory is let go of."""
_MOST_VALUES, _BATCH_VALUES = 2**24, 1024
"""Values of lists that are encoded at once, each of which takes 8 bytes meanwhile; and about how many lie between two places
where a page may end."""
_OPTIONS: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}


def table_bytes(table: pa.Table, *, is_divided: bool = True) -> bytes:
    """Return the file of a table.

    Args:
        table: The rows.
        is_divided: Whether long columns of lists are encoded in several steps, as version 0.2 did not. A page may end a row
            earlier or later for it.
    """
    import pyarrow.parquet as pq  # it takes a tenth of a second

    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, **_OPTIONS) as writer:
        for start in range(0, max(1, len(table)), GROUP_ROWS):
            group = table.slice(start, GROUP_ROWS)
            writer.write_table(_divided(group) if is_divided else group, row_group_size=GROUP_ROWS)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def write_rows(rows: ShardRows, file: IO[bytes], **scratch: Any) -> None:
    """Write the file of a shard's rows, of which a row group at most is in memory, as its columns are encoded.

    Args:
        rows: The rows.
        file: Where it is written to.
        scratch: Arguments of `ShardRows.groups`.

    Raises OSError if there is no room.
    """
    import pyarrow.parquet as pq

    sink = _Released(rows, file)
    with pq.ParquetWriter(sink, rows.schema, **_OPTIONS) as writer:
        for group in rows.groups(GROUP_ROWS, **scratch):
            writer.write_table(_divided(group), row_group_size=GROUP_ROWS)


def _divided(group: pa.Table) -> pa.Table:
    """Return the same rows, with long columns of lists in several chunks, each of which is encoded alone."""
    columns = []
    for column in group.columns:
        width = column.type.list_size if pa.types.is_fixed_size_list(column.type) else 0
        if len(column) * width > _MOST_VALUES:
            together = -(-_BATCH_VALUES // width)
            rows = max(together, _MOST_VALUES // width // together * together)
            [chunk] = column.combine_chunks().chunks if column.num_chunks != 1 else column.chunks
            column = pa.chunked_array([chunk.slice(start, rows) for start in range(0, len(chunk), rows)])
        columns.append(column)
    return pa.table(columns, schema=group.schema)


def read_rows(source: pa.NativeFile, columns: list[str] | None = None) -> pa.Table:
    """Read a table of a run. `pyarrow.parquet.read_table` would import the datasets of Arrow, and with them pandas."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(source, page_checksum_verification=True).read(columns=columns)
    return table if columns is None else table.select(columns)


class _Released:
    """A file to which the pages of a column are written one after another, so that the rows they are of can be let go."""

    closed = False

    def __init__(self, rows: ShardRows, file: IO[bytes]) -> None:
        self._rows, self._file = rows, file
        self._written = self._released = 0

    def write(self, content: bytes) -> int:
        self._file.write(content)
        self._written += len(content)
        if self._written - self._released >= _RELEASED_BYTES:
            self._released = self._written
            self._rows.release()
        return len(content)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Leave the file open: whoever opened it closes it."""
