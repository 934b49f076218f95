"""Columns of files, such as pictures, as datasets of Hugging Face writes them: a structure of their bytes and their path."""

import posixpath
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from raymu.data.arrow_values import is_text
from raymu.text import one_line, plural

_BYTES, _PATH = "bytes", "path"


def with_embedded_files(
    table: pa.Table, names: Sequence[str], system: fs.FileSystem | None = None, folder: str = ""
) -> pa.Table:
    """Return a table in which such columns hold the files' bytes. Files whose bytes are missing are read from their paths.

    Args:
        table: Of one file, or in memory.
        names: The columns to convert, if they are of this form.
        system: Where the table's file lies; None for a table in memory.
        folder: Its folder, where relative paths begin.

    Raises:
        ValueError: Neither the bytes of a file are there, nor can it be read.
    """
    for index, field in enumerate(table.schema):
        if field.name in names and _is_files(field.type):
            parts = [_read(field.name, chunk, system, folder) for chunk in table.column(index).chunks]
            table = table.set_column(index, field.name, pa.chunked_array(parts, type=pa.large_binary()))
    return table


def _is_files(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind) or {kind.field(index).name for index in range(kind.num_fields)} != {_BYTES, _PATH}:
        return False
    contents = kind.field(_BYTES).type
    is_binary = pa.types.is_binary(contents) or pa.types.is_large_binary(contents) or pa.types.is_null(contents)
    return is_binary and (is_text(kind.field(_PATH).type) or pa.types.is_null(kind.field(_PATH).type))


def _read(name: str, chunk: pa.Array, system: fs.FileSystem | None, folder: str) -> pa.Array:
    contents, paths = pc.struct_field(chunk, _BYTES), pc.struct_field(chunk, _PATH)
    is_missing = pc.and_(pc.is_null(contents), pc.is_valid(paths))
    if not pc.any(is_missing).as_py():
        return contents.cast(pa.large_binary())
    read, failed = contents.to_pylist(), 0
    for row in pc.indices_nonzero(is_missing).to_pylist():
        try:
            if system is None:
                raise FileNotFoundError("a table in memory has no folder")
            with system.open_input_file(posixpath.join(folder, paths[row].as_py())) as file:
                read[row] = file.read()
        except (OSError, pa.ArrowException):
            failed += 1
    if failed:
        raise ValueError(
            f"column {one_line(name)} has no bytes for {plural(failed, 'file')}, which cannot be read from their paths "
            "beside the table; embed their bytes in it"
        )
    return pa.array(read, pa.large_binary())
