"""A shard's table that is read in parts, since all of it may not fit into memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from raymu.data.arrow_source import buffer_reader
from raymu.errors import FileCorrupt


class StoredTable:
    """A Parquet file whose bytes were checked."""

    def __init__(self, content: pa.Buffer, *, source: str) -> None:
        """Read what the file says of itself.

        Args:
            content: Its bytes, which may be mapped into memory.
            source: Its name in error messages.

        Raises:
            FileCorrupt: It is no Parquet file.
        """
        import pyarrow.parquet as pq  # it takes a tenth of a second

        self._source = source
        with reading_table(source):
            # Read in advance, all row groups would stay in memory until the last part.
            self._file = pq.ParquetFile(buffer_reader(content), page_checksum_verification=True, pre_buffer=False)
        self.schema: pa.Schema = self._file.schema_arrow
        metadata = self._file.metadata
        self.rows = int(metadata.num_rows)
        self.encoded_bytes = sum(
            metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)
        )
        """As encoded in the file, before it is compressed."""

    def parts(self, rows: int) -> Iterator[pa.Table]:
        """Yield at most so many rows at once, and at least one part, which may be empty. Raises FileCorrupt."""
        batches = self._file.iter_batches(batch_size=rows)
        while True:
            with reading_table(self._source):
                batch = next(batches, None)
            if batch is None:
                break
            yield pa.Table.from_batches([batch])
        if not self.rows:
            yield self.schema.empty_table()


@contextmanager
def reading_table(source: str) -> Iterator[None]:
    """Raise FileCorrupt, naming `source`, for what cannot be read as Parquet."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise FileCorrupt(source, f"not the Parquet file that was written ({error})") from error
