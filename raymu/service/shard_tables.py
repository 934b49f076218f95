"""The tables of the shards of a new run: finished from placed parts, in whichever process has them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymu.config import Config
from raymu.core.records import SampleId
from raymu.data.arrow_buffers import to_arrow, to_numpy
from raymu.service.placement import HASH
from raymu.store.finished_shard import FinishedShard
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """Samples that a run is made without, as its table spells them."""

    ids: tuple[SampleId, ...] = ()
    owners: tuple[str, ...] = ()
    """Owners whose samples are left out."""

    def without(self, rows: pa.Table) -> pa.Table:
        """Return placed rows without these samples."""
        is_out = np.zeros(len(rows), dtype=bool)
        for name, values in (("id", self.ids), ("owner", self.owners)):
            if values:
                column = rows[name]
                is_out |= pc.is_in(column, value_set=pa.array(values, column.type)).to_numpy()
        return rows.filter(to_arrow(~is_out)) if is_out.any() else rows


def write_shard(
    store: RunStore, shard: int, parts: Iterable[pa.Table], *, config: Config, left_out: LeftOut
) -> FinishedShard:
    """Finish a shard: its table, whose bytes do not depend on the order of the rows, and its index.

    Args:
        store: The run, which was begun.
        shard: The shard.
        parts: Its rows as they were placed, in any order: at least one part, which may be empty.
        config: The settings of the run.
        left_out: Samples to leave out.

    Raises:
        StorageFailed: A file cannot be written.
    """
    rows = left_out.without(pa.concat_tables(parts))
    return store.finish_shard(shard, _in_order(rows), config)


def _in_order(rows: pa.Table) -> pa.Table:
    """Return the rows of a shard by slice and hash, without their hashes."""
    order = to_arrow(np.lexsort((to_numpy(rows[HASH]), to_numpy(rows["slice"]))))
    columns = {}
    for name in rows.column_names:
        if name != HASH:  # column after column, so that two copies of all of them are never there
            columns[name] = rows[name].combine_chunks().take(order)
    schema = rows.schema.remove(rows.schema.get_field_index(HASH))
    return pa.Table.from_arrays(list(columns.values()), schema=schema)
