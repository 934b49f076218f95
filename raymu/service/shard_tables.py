"""The tables of shards: finished from placed parts in whichever process has them, grown by such parts, cut from a table."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymu.config import Config, PartitionConfig
from raymu.core.partition import Indices, identity_hashes
from raymu.core.records import SampleFiles, SampleId
from raymu.data.arrow_buffers import to_arrow, whole
from raymu.data.id_hashes import array_hashes
from raymu.data.run_table import in_types_of
from raymu.data.run_table import to_arrow as to_run_table
from raymu.data.shard_rows import HASH, ShardRows
from raymu.data.shard_spill import ShardSpill, scratch_folder
from raymu.data.tables import SampleTable
from raymu.store.creation import write_new_shard
from raymu.store.finished_shard import FinishedShard
from raymu.store.run import RunStore

_PART_BYTES = 8 * 2**20
"""Bytes of a shard's table that are read at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """Samples that a run is made without, as its table spells them."""

    ids: tuple[SampleId, ...] = ()
    owners: tuple[str, ...] = ()
    """Owners whose samples are left out."""

    def rows_of(self, rows: pa.Table) -> npt.NDArray[np.bool_]:
        """Return which placed rows are these samples, (rows,)."""
        is_out = np.zeros(len(rows), dtype=bool)
        for name, values in (("id", self.ids), ("owner", self.owners)):
            if values:
                column = rows[name]
                is_out |= pc.is_in(column, value_set=pa.array(values, column.type)).to_numpy()
        return is_out

    def without(self, rows: pa.Table) -> pa.Table:
        """Return placed rows without these samples."""
        is_out = self.rows_of(rows)
        return rows.filter(to_arrow(~is_out)) if is_out.any() else rows


def write_shard(
    store: RunStore,
    shard: int,
    parts: Iterable[pa.Table],
    *,
    config: Config,
    left_out: LeftOut,
    release: Callable[[], None] = lambda: None,
) -> FinishedShard:
    """Finish a shard: its table, whose bytes do not depend on the order of the rows, and its index.

    Args:
        store: The run, which was begun.
        shard: The shard.
        parts: Its rows as they were placed, in any order: at least one part, which may be empty.
        config: The settings of the run.
        left_out: Samples to leave out.
        release: As for `ShardRows`.

    Raises:
        StorageFailed: A file cannot be written.
    """
    rows = ShardRows(list(parts), is_left_out=left_out.rows_of, release=release)
    return write_new_shard(store, shard, rows, config)


def grow_shard(
    store: RunStore,
    shard: int,
    files: SampleFiles,
    added: Sequence[pa.Table],
    *,
    source: str,
    release: Callable[[], None],
) -> SampleFiles:
    """Write the table of a shard again with samples of further slices, and its index.

    Args:
        store: The run.
        shard: The shard.
        files: Its samples.
        added: The new samples as they were placed, in any order: at least one part.
        source: Their table, for messages.
        release: As for `ShardRows`, of the added parts.

    Raises:
        FileMissing: The table of the shard is missing.
        FileCorrupt: It was changed.
        DataInvalid: The new samples are of other types.
        StorageFailed: A file cannot be written.
        OSError: There is no room for temporary files.
    """
    held = store.samples.open_table(files.table)
    seed, spill = store.config.partition.seed, ShardSpill(1, scratch_folder(store.files.local))

    def release_all() -> None:
        spill.release()
        release()

    try:
        rows = max(1, int(_PART_BYTES * held.rows / max(1, held.encoded_bytes)))
        for part in held.parts(rows):
            hashes = array_hashes(whole(part["id"]), seed=seed, purpose="sample")
            spill.add(part.append_column(HASH, to_arrow(hashes)), np.zeros(len(part), dtype=np.int64))
        grown = [_in_form(part, held.schema, source) for part in added]
        return store.samples.write_placed(shard, ShardRows([*spill.parts(0), *grown], release=release_all))
    finally:
        spill.close()


def _in_form(part: pa.Table, held: pa.Schema, source: str) -> pa.Table:
    """Return placed rows in the types of a shard's table. Raises DataInvalid."""
    return in_types_of(source, part.drop_columns([HASH]), held).append_column(HASH, part[HASH])


def shard_tables(
    table: SampleTable, shards: Indices, slices: Indices, partition: PartitionConfig
) -> Iterator[pa.Table]:
    """Yield the run's copy of each shard's samples, which does not depend on the order of the rows."""
    hashes = identity_hashes(table.ids.tolist(), seed=partition.seed, purpose="sample")
    order = np.lexsort((hashes, slices, shards))
    starts = np.searchsorted(shards[order], np.arange(1, partition.shards))
    for rows in np.split(order, starts):
        yield to_run_table(table.take(rows), slices[rows])
