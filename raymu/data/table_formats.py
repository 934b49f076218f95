"""Formats of binary tables, recognised by their first bytes and not by a file's name."""

from collections.abc import Callable, Mapping
from enum import Enum

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq


class TableFormat(Enum):
    """A format that Arrow reads. The value says what a file is, for messages."""

    PARQUET = "Parquet"
    ARROW_FILE = "an Arrow file"
    ARROW_STREAM = "an Arrow stream"
    FEATHER = "a Feather file of version 1"


_MAGIC = {
    b"PAR1": TableFormat.PARQUET,
    b"ARROW1": TableFormat.ARROW_FILE,
    b"\xff\xff\xff\xff": TableFormat.ARROW_STREAM,
    b"FEA1": TableFormat.FEATHER,
}
MAGIC_LENGTH = max(map(len, _MAGIC))
"""Bytes that `format_of` looks at."""
ENDINGS = (".parquet", ".parq", ".pq", ".arrow", ".feather", ".ipc")
"""Endings by which a file's name promises one of these formats."""


def format_of(beginning: bytes) -> TableFormat | None:
    """Return the format of a file by its first bytes; None if it has none of these formats."""
    return next((kind for magic, kind in _MAGIC.items() if beginning.startswith(magic)), None)


def read_format(file: pa.NativeFile, kind: TableFormat) -> pa.Table:
    """Read a whole table. Raises OSError, pa.ArrowException, ValueError or KeyError if it is damaged."""
    return _READERS[kind](file)


def _parquet(file: pa.NativeFile) -> pa.Table:
    return pq.ParquetFile(file).read()  # unlike read_table, also if a column is there twice


def _arrow_file(file: pa.NativeFile) -> pa.Table:
    return pa.ipc.open_file(file).read_all()


def _arrow_stream(file: pa.NativeFile) -> pa.Table:
    return pa.ipc.open_stream(file).read_all()


def _feather(file: pa.NativeFile) -> pa.Table:
    return pyarrow.feather.read_table(file)


_READERS: Mapping[TableFormat, Callable[[pa.NativeFile], pa.Table]] = {
    TableFormat.PARQUET: _parquet,
    TableFormat.ARROW_FILE: _arrow_file,
    TableFormat.ARROW_STREAM: _arrow_stream,
    TableFormat.FEATHER: _feather,
}
