"""Rows of samples, without ids and labels: one array, or columns of a table as Arrow has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.core.arrays import Features


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Columns:
    """Columns of samples. Rows are selected by a slice, by their numbers or by a mask, as those of an array are."""

    table: pa.Table

    @classmethod
    def of(cls, table: pa.Table) -> "Columns":
        """Take the columns of a table, each in one piece."""
        return cls(table=table.combine_chunks())

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> "Columns":
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return Columns(table=self.table.slice(start, max(0, stop - start)))
            rows = np.arange(start, stop, step)
        numbers = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Columns(table=self.table.take(pa.array(numbers, type=pa.int64())))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.table.column_names)


Rows: TypeAlias = Features | Columns
"""An array of shape (samples, *shape), or columns."""


def as_array(rows: Rows) -> Features:
    """Return rows that are an array, as those of the task `tensor` are."""
    assert not isinstance(rows, Columns), "only the tensor task has rows that are an array"
    return rows


def joined_rows(parts: Sequence[Rows]) -> Rows:
    """Join rows of the same kind, part after part."""
    columns = [part.table for part in parts if isinstance(part, Columns)]
    if columns:
        return Columns.of(pa.concat_tables(columns))
    return np.concatenate([part for part in parts if not isinstance(part, Columns)])
