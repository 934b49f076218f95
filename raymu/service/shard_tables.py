"""The tables of the shards of a new run: finished from placed parts, in whichever process has them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymu.config import Config
from raymu.core.records import SampleId
from raymu.data.arrow_buffers import to_arrow
from raymu.data.shard_rows import ShardRows
from raymu.store.finished_shard import FinishedShard
from raymu.store.run import RunStore


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
    return store.finish_shard(shard, rows, config)
