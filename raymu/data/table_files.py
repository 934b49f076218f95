"""The files of a table: one or several, a pattern, or a directory as Spark, Hive and Ray Data write it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from raymu.core.uri import LEAVE_SECRETS_OUT, has_credentials, is_uri, locations_of, redacted
from raymu.data.table_formats import ENDINGS, MAGIC_LENGTH, TableFormat, format_of, read_format
from raymu.errors import DataInvalid
from raymu.text import one_line

_WILDCARD = re.compile(r"[*?\[]")
_NOTES = (".json", ".md", ".txt", ".yaml", ".yml", ".html", ".crc", ".lock")
"""Endings of files that programs and people leave beside tables."""
_LEAST_BUFFER, _MOST_BUFFER, _ALL_BUFFERS = 2**16, 2**20, 2**26
"""Bytes of a column that are read from a Parquet file at once, and of all columns together."""
_REMOTE_BUFFER = 2**23
"""The most of a column of a file that is not on this machine, where each reading waits for an answer."""
_KEY = re.compile(r"([^=/]+)=[^/]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFile:
    """One file of a table."""

    system: fs.FileSystem
    path: str
    """Its path in that system."""
    source: str
    """Its path or URI, for messages."""

    def read(self) -> pa.Table:
        """Read the file as what its content says: Parquet, an Arrow file or stream, or Feather.

        Raises:
            DataInvalid: It is neither.
            OSError: It cannot be read; the same holds for pa.ArrowException and ValueError.
        """
        with self.system.open_input_file(self.path) as file:
            kind = format_of(file.read(MAGIC_LENGTH))
            file.seek(0)
            if kind is not None:
                return read_format(file, kind)
        if self.path.lower().endswith(ENDINGS):
            raise ValueError("its content is neither Parquet, Arrow nor Feather")
        raise self._of_no_format()

    def schema(self) -> tuple[pa.Schema | None, int | None]:
        """Return the columns of the file, and its rows; None for what the file does not say before it is read whole.

        Raises as `read`.
        """
        with self.system.open_input_file(self.path) as file:
            kind = format_of(file.read(MAGIC_LENGTH))
            file.seek(0)
            match kind:
                case TableFormat.PARQUET:
                    parquet = pq.ParquetFile(file)
                    return parquet.schema_arrow, parquet.metadata.num_rows
                case TableFormat.ARROW_FILE:
                    return pa.ipc.open_file(file).schema, None
                case TableFormat.ARROW_STREAM:
                    return pa.ipc.open_stream(file).schema, None
        return None, None

    def row_groups(self, names: Sequence[str]) -> list[tuple[int, int]] | None:
        """Return the rows of each row group of a Parquet file, and the bytes of some columns; None for another format.

        Raises OSError, pa.ArrowException.
        """
        with self.system.open_input_file(self.path) as file:
            if format_of(file.read(MAGIC_LENGTH)) is not TableFormat.PARQUET:
                return None
            file.seek(0)
            metadata = pq.ParquetFile(file).metadata
            groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
            return [(group.num_rows, _uncompressed(group, names)) for group in groups]

    @contextmanager
    def open_batches(
        self, names: Sequence[str], rows_of: Callable[[int, int], int], *, skip: int = 0
    ) -> Iterator[tuple[pa.Schema, int, Iterator[pa.RecordBatch]]]:
        """Open a file that has a schema.

        Yields it, the rows before the first batch, and the batches of some columns; of an Arrow file, those it consists of.

        Args:
            names: The columns. Others may come with them.
            rows_of: Returns the rows of a batch, by the size of the columns in bytes, and by their rows.
            skip: Rows at the beginning that need not come, as far as they are whole row groups of Parquet.
        """
        with self.system.open_input_file(self.path) as file:
            kind = format_of(file.read(MAGIC_LENGTH))
            file.seek(0)
            if kind is TableFormat.PARQUET:
                # Read in advance, all row groups would stay in memory until the last batch.
                parquet = pq.ParquetFile(file, buffer_size=self._buffer_bytes(len(names)), pre_buffer=False)
                own = [name for name in names if name in parquet.schema_arrow.names]
                metadata = parquet.metadata
                size = sum(_uncompressed(metadata.row_group(group), own) for group in range(metadata.num_row_groups))
                rows = rows_of(size, metadata.num_rows)
                groups, start = list(range(metadata.num_row_groups)), 0
                while groups and start + metadata.row_group(groups[0]).num_rows <= skip:
                    start += metadata.row_group(groups.pop(0)).num_rows
                yield parquet.schema_arrow, start, parquet.iter_batches(batch_size=rows, columns=own, row_groups=groups)
            elif kind is TableFormat.ARROW_FILE:
                arrow = pa.ipc.open_file(file)
                yield arrow.schema, 0, (arrow.get_batch(index) for index in range(arrow.num_record_batches))
            else:
                stream = pa.ipc.open_stream(file)
                yield stream.schema, 0, stream

    def _buffer_bytes(self, columns: int) -> int:
        """Return how many bytes of each column are read at once. Without such a limit it would be those of a row group."""
        most = _MOST_BUFFER if isinstance(self.system, fs.LocalFileSystem) else _REMOTE_BUFFER
        return max(_LEAST_BUFFER, min(most, _ALL_BUFFERS // max(1, columns)))

    def _of_no_format(self) -> DataInvalid:
        return DataInvalid(
            self.source,
            "is of no known format; give a .parquet, .arrow or .feather file, as `raymu import` makes of a CSV",
        )

    def partition(self) -> Mapping[str, str | None]:
        """Return the columns that the folders of the path give a value to, as Hive does: owner=anna/part.parquet."""
        folder = str(PurePosixPath(self.path).parent)
        names = dict.fromkeys(match[1] for part in folder.split("/") if (match := _KEY.fullmatch(part)))
        if not names:
            return {}
        from pyarrow.dataset import HivePartitioning, get_partition_keys  # which import pandas

        hive = HivePartitioning(pa.schema([(name, pa.string()) for name in names]))
        return dict(get_partition_keys(hive.parse(self.path)))


def _uncompressed(group: pq.RowGroupMetaData, names: Sequence[str]) -> int:
    """Return the bytes of some columns of a row group before they are compressed."""
    columns = (group.column(index) for index in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema.split(".")[0] in names)


def require_no_secret(location: str) -> None:
    """Raise DataInvalid if a URI has a secret in it: a run keeps the locations of its data."""
    if has_credentials(location):
        raise DataInvalid(redacted(location), LEAVE_SECRETS_OUT)


def table_files(location: str) -> list[TableFile]:
    """Find the files of a table, ordered by their paths.

    In directories, what begins with a dot or an underscore is left out, as are empty files and notes such as README.md.

    Args:
        location: Paths or URIs of files or directories, or patterns such as data/*.parquet and data/**.

    Raises:
        DataInvalid: There is no such file.
    """
    require_no_secret(location)
    files: dict[tuple[str, str], TableFile] = {}
    for place in locations_of(location):
        try:
            present = list(_files_at(place))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DataInvalid(
                redacted(place), f"cannot be read ({one_line(error)}); give a whole file that is there"
            ) from error
        if not present:
            raise DataInvalid(
                redacted(place), "has no files of a table; name a Parquet, Arrow or Feather file that is there"
            )
        files |= {(file.system.type_name, file.path): file for file in present}
    return list(files.values())


def _files_at(place: str) -> Iterator[TableFile]:
    if is_uri(place):
        system, path = fs.FileSystem.from_uri(place)
    else:
        system, path = fs.LocalFileSystem(), str(Path(place).expanduser().absolute())
    [info] = system.get_file_info([path])
    wildcard = _WILDCARD.search(path)
    if wildcard is None or info.type is not fs.FileType.NotFound:
        yield from _files_below(system, path, place)
        return
    root = path[: path.rfind("/", 0, wildcard.start()) + 1]
    from fsspec.implementations.arrow import ArrowFSWrapper

    for matched in sorted(ArrowFSWrapper(system).glob(path)):
        if not _is_hidden(matched.removeprefix(root)):
            yield from _files_below(system, matched, place)


def _files_below(system: fs.FileSystem, path: str, place: str) -> Iterator[TableFile]:
    [info] = system.get_file_info([path])
    if info.type is fs.FileType.Directory:
        folder = path.rstrip("/")
        for entry in sorted(
            system.get_file_info(fs.FileSelector(folder, recursive=True)), key=lambda entry: entry.path
        ):
            inner = entry.path.removeprefix(folder).lstrip("/")
            is_table = entry.size and not inner.lower().endswith(_NOTES)
            if entry.type is fs.FileType.File and is_table and not _is_hidden(inner):
                yield TableFile(system=system, path=entry.path, source=f"{_prefix(place)}{entry.path}")
    elif info.type is fs.FileType.Unknown:
        raise OSError("it is not a file")  # reading a pipe could wait for ever
    else:
        source = redacted(place) if not _WILDCARD.search(place) else f"{_prefix(place)}{path}"
        yield TableFile(system=system, path=path, source=source)


def _prefix(place: str) -> str:
    return f"{redacted(place).partition('://')[0]}://" if is_uri(place) else ""


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) and "=" not in part for part in path.split("/"))
