"""The placed samples of a table in this process: in a temporary file, until each shard is finished."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from raymu.config import Config
from raymu.data.repeated_keys import KeyRows
from raymu.data.shard_spill import KeySpill, ShardSpill, scratch_folder
from raymu.data.table_stream import TableStream
from raymu.service.held_out import shared_ids
from raymu.service.placed_facts import HEAD_ROWS
from raymu.service.placement import PlacedBatch, Placement, place_batch
from raymu.service.shard_tables import LeftOut, write_shard
from raymu.store.finished_shard import FinishedShard
from raymu.store.run import RunStore
from raymu.training.row_checks import PROBE_SAMPLES


class RowsHere:
    """Places a table part after part. Only one part, and one shard, are ever in memory."""

    is_run_begun = False

    def __init__(self, stream: TableStream, placement: Placement, *, folder: Path | None) -> None:
        """Begin without rows.

        Args:
            stream: The table.
            placement: How its samples are placed.
            folder: Where the temporary files are; None for the folder of such files.
        """
        self._stream, self._placement = stream, placement
        self._spill = ShardSpill(placement.partition.shards, folder)
        self._keys = KeySpill(folder)

    def place(self) -> Iterator[PlacedBatch]:
        """Place all parts, and yield what is known of each. Raises OSError if there is no room."""
        reading = self._placement.reading
        is_sound = True
        for part in self._stream.batches(reading.columns):
            batch = place_batch(self._placement, part, head=HEAD_ROWS, kept=PROBE_SAMPLES)
            is_sound = is_sound and batch.rows is not None
            if is_sound and batch.rows is not None:
                self._keys.add(batch.keys)
                self._spill.add(batch.rows, batch.shards)
            yield batch

    def repeated(self) -> KeyRows:
        """Return the first row of each key that occurs again, in the order of the rows."""
        return self._keys.repeated()

    def count_shared(self, ids: pa.Array, left_out: LeftOut) -> int:
        """Return how many of the samples that are left have one of these ids. ids: (samples,) string"""
        shared = 0
        for shard in range(self._placement.partition.shards):
            shared += sum(shared_ids(ids, left_out.without(part)) for part in self.parts(shard))
            self.release()
        return shared

    def parts(self, shard: int) -> list[pa.Table]:
        """Return the placed rows of a shard in parts, at least one, which may be empty; `release` lets go of them."""
        return self._spill.parts(shard)

    def release(self) -> None:
        """Let go of memory that parts were read into."""
        self._spill.release()

    def write(self, store: RunStore, config: Config, left_out: LeftOut) -> Iterator[FinishedShard]:
        """Write the run's copy of each shard's samples. Raises StorageFailed."""
        for shard in range(self._placement.partition.shards):
            yield write_shard(store, shard, self.parts(shard), config=config, left_out=left_out, release=self.release)

    def close(self) -> None:
        """Delete the temporary files."""
        self._spill.close()
        self._keys.close()


def rows_here(stream: TableStream, placement: Placement, store: RunStore) -> RowsHere:
    """Place the samples in this process."""
    return RowsHere(stream, placement, folder=scratch_folder(store.files.local))
