"""The samples of a run's shards: tables, their indexes, and the routes that lead to a sample's shard."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, TypeVar

import pyarrow as pa

from raymu.config import Config
from raymu.core.records import FileRef, SampleFiles
from raymu.data.arrow_source import arrow_reader
from raymu.data.routes import Routes, RoutesWriter
from raymu.data.shard_index import COLUMNS as INDEXED
from raymu.data.shard_index import ShardIndex
from raymu.data.shard_rows import ShardRows
from raymu.errors import FileCorrupt
from raymu.store.files.run_files import RunFiles
from raymu.store.layout import index_stem, kind_of, routes_stem, samples_stem, table_stem
from raymu.store.stored_table import StoredTable, reading_table
from raymu.store.table_format import read_rows, table_bytes, write_rows

Value = TypeVar("Value")


class StoredSamples:
    """The run's copies of its samples. A file that is written is named by its content, and a hash is checked on reading."""

    def __init__(self, files: RunFiles, config: Config) -> None:
        """Name the samples of a run.

        Args:
            files: The files of the run.
            config: Its settings, which need not be written yet.
        """
        self._files, self._seed, self._has_owners = files, config.partition.seed, bool(config.data.owner)

    def write(self, shard: int, table: pa.Table, index: ShardIndex | None = None) -> SampleFiles:
        """Write the run's copy of a shard's samples and their index, each named by its content. Raises StorageFailed.

        Args:
            shard: The shard.
            table: Its samples.
            index: Their index, if it is there already.
        """
        index = index or ShardIndex.of(table, seed=self._seed)
        table_ref, index_ref = self._files.together(
            lambda: self.write_table(shard, table), lambda: self.write_index(shard, index)
        )
        return SampleFiles(table=table_ref, index=index_ref)

    def write_placed(self, shard: int, rows: ShardRows) -> SampleFiles:
        """Write placed rows as the samples of a shard, row group by row group, and their index. Raises StorageFailed.

        Args:
            shard: The shard.
            rows: Its samples.
        """
        index = ShardIndex.of(rows.select(INDEXED), seed=self._seed, hashes=rows.hashes)
        table_ref, index_ref = self._files.together(
            lambda: self._write_rows(shard, rows), lambda: self.write_index(shard, index)
        )
        return SampleFiles(table=table_ref, index=index_ref)

    def write_table(self, shard: int, table: pa.Table) -> FileRef:
        """Write a shard's table alone, named by its content. Raises StorageFailed."""
        return self._files.write_content(table_stem(shard), ".parquet", table_bytes(table))

    def _write_rows(self, shard: int, rows: ShardRows) -> FileRef:
        """Write a shard's table as `write_table` does, row group by row group. Raises StorageFailed."""

        def write(file: IO[bytes]) -> None:
            write_rows(rows, file, folder=self._files.local)

        return self._files.write_stream(table_stem(shard), ".parquet", write)

    def write_index(self, shard: int, index: ShardIndex) -> FileRef:
        """Write the index of a shard's table, named by its content. Raises StorageFailed."""
        return self._files.write_content(index_stem(shard), ".arrow", index.payload().to_pybytes())

    def write_routes(self, routes: Routes) -> list[FileRef]:
        """Write the parts of routes, each named by its number and its content. Raises StorageFailed."""
        parts = routes.parts()
        stems = (routes_stem(number, len(parts)) for number in range(len(parts)))
        payloads = (part.payload().to_pybytes() for part in parts)
        return [self._files.write_content(stem, ".arrow", each) for stem, each in zip(stems, payloads, strict=True)]

    def read_index(self, files: SampleFiles) -> ShardIndex:
        """Return the index of a shard's samples: mapped into memory, or made of the table if it has none.

        Raises FileMissing, FileCorrupt.
        """
        if files.index is None:
            columns = [name for name in INDEXED if name != "owner" or self._has_owners]
            return ShardIndex.of(self.read_table(files.table, columns), seed=self._seed)
        return self._read_mapped(files.index, ShardIndex.read)

    def read_routes(self, ref: FileRef) -> Routes:
        """Return routes, mapped into memory. Raises FileMissing, FileCorrupt."""
        return self._read_mapped(ref, Routes.read)

    def _read_mapped(self, ref: FileRef, read: Callable[[pa.Buffer], Value]) -> Value:
        source = self._files.map_checked(ref)
        try:
            return read(source)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise FileCorrupt(self._files.display_path(ref.path), f"not the file that was written ({error})") from error

    def restore_table(self, ref: FileRef, table: pa.Table) -> bool:
        """Write a missing table again, if that gives the same bytes. Returns whether it did."""
        for is_divided in (True, False):
            payload = table_bytes(table, is_divided=is_divided)
            if hashlib.sha256(payload).hexdigest() == ref.sha256:
                self._files.write(ref.path, payload)
                return True
        return False

    def readable_tables(self, shard: int) -> Iterator[pa.Table]:
        """Yield every readable table of a shard in the run, needed or not."""
        for name in self._files.list("samples"):
            path = f"samples/{name}"
            if path.startswith(f"{samples_stem(shard)}-") and kind_of(path) == "samples":
                with suppress(pa.ArrowException, OSError, ValueError):
                    yield read_rows(arrow_reader(self._files.read(path)))

    def read_table(self, ref: FileRef, columns: list[str] | None = None) -> pa.Table:
        """Return a shard's samples, or some of the columns. Raises FileMissing, FileCorrupt."""
        source = arrow_reader(self._files.read_checked(ref))
        with reading_table(self._files.display_path(ref.path)):
            return read_rows(source, columns)

    def open_table(self, ref: FileRef) -> StoredTable:
        """Open a shard's table, to read it in parts. Raises FileMissing, FileCorrupt."""
        return StoredTable(self._files.map_checked(ref), source=self._files.display_path(ref.path))


def routes_writer(config: Config, key: bytes) -> RoutesWriter | None:
    """Return a writer of the routes that a run needs; None where every home follows from the id."""
    if config.data.owner is None:
        return None
    return RoutesWriter(key, of_owners=config.partition.policy != "owner")
