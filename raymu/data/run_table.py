"""The run's own table of a shard's samples: written, and read back."""

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.core.arrays import Targets
from raymu.core.partition import Indices
from raymu.data.arrow_buffers import to_arrow as numbers_to_arrow
from raymu.data.arrow_buffers import to_numpy, whole
from raymu.data.rows import Columns, Rows
from raymu.data.tables import SampleTable
from raymu.errors import DataInvalid
from raymu.text import one_line

_SHAPE = b"raymu.shape"
_COLUMN = "feature."
"""Prefix of the columns that have the samples' features, if they are kept as columns."""


def to_arrow(table: SampleTable, slices: Indices) -> pa.Table:
    """Convert samples to the run's own table, which `from_arrow` reads. slices: (samples,)"""
    owners = table.owners
    return own_table(
        ids=pa.array(table.ids, type=_id_type(table.ids)),
        features=table.features,
        labels=table.labels,
        slices=slices,
        owners=None
        if owners is None
        else pa.array([None if owner is None else str(owner) for owner in owners], type=pa.string()),
    )


def own_table(*, ids: pa.Array, features: Rows, labels: Targets, slices: Indices, owners: pa.Array | None) -> pa.Table:
    """Return samples as the run's own table has them.

    Args:
        ids: (samples,) int64 or string.
        features: (samples, *shape), or columns.
        labels: (samples,) int64, or (samples, outputs) float32.
        slices: (samples,).
        owners: (samples,) string, some of them missing; None for a run that knows no owners.
    """
    columns = {
        "id": ids,
        "label": numbers_to_arrow(labels) if labels.ndim == 1 else _fixed_lists(labels),
        "slice": numbers_to_arrow(slices.astype(np.int64, copy=False)),
    }
    metadata: dict[bytes, bytes] = {}
    if isinstance(features, Columns):
        columns |= {f"{_COLUMN}{name}": features.table[name] for name in features.names}
    else:
        columns["features"] = _fixed_lists(features)
        metadata[_SHAPE] = json.dumps(features.shape[1:]).encode()
    if owners is not None:
        columns["owner"] = owners
    return pa.table(columns).replace_schema_metadata(metadata or None)


def _fixed_lists(values: npt.NDArray[Any]) -> pa.Array:
    """Return an array of rows, (rows, *shape), as lists of equal length."""
    flat = numbers_to_arrow(np.ascontiguousarray(values).reshape(-1))
    # Parquet reads entries under this name, so that a table which is read and written again has the same bytes.
    kind = pa.list_(pa.field("element", flat.type), int(np.prod(values.shape[1:])))
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)


def from_arrow(table: pa.Table) -> tuple[SampleTable, Indices]:
    """Read the run's own table. Returns the samples and their slices, (samples,)."""
    ids = table["id"]
    owners = np.array(table["owner"].to_pylist(), dtype=object) if "owner" in table.column_names else None
    samples = SampleTable(
        ids=to_numpy(ids) if pa.types.is_integer(ids.type) else np.array(ids.to_pylist(), dtype=object),
        features=_kept_rows(table),
        labels=_kept_targets(table["label"]),
        owners=owners,
    )
    return samples, to_numpy(table["slice"])


def in_types_of(source: str, added: pa.Table, held: pa.Schema) -> pa.Table:
    """Convert new samples to the types in which a run keeps its own.

    Args:
        source: The new table, for messages.
        added: New samples, as `own_table` returns them.
        held: The columns of the run's own table.

    Raises:
        DataInvalid: That would change a value.
    """
    try:
        return added.cast(held.with_metadata(added.schema.metadata)).replace_schema_metadata(held.metadata)
    except (pa.ArrowException, ValueError) as error:
        raise DataInvalid(
            source, f"has values of another type than the run keeps: {one_line(error)}; give columns of the same types"
        ) from error


def kept_bytes(schema: pa.Schema, rows: int, encoded_bytes: int) -> int:
    """Estimate the memory that the features of a shard's table take: exact for arrays, as encoded in the file for columns."""
    shape = (schema.metadata or {}).get(_SHAPE)
    if shape is None:
        return encoded_bytes
    return int(rows * math.prod(json.loads(shape)) * schema.field("features").type.value_type.bit_width // 8)


def _kept_rows(table: pa.Table) -> Rows:
    metadata = table.schema.metadata or {}
    if _SHAPE in metadata:
        values: npt.NDArray[Any] = to_numpy(whole(table["features"]).flatten())
        return values.reshape(table.num_rows, *json.loads(metadata[_SHAPE]))
    names = [name for name in table.column_names if name.startswith(_COLUMN)]
    return Columns.of(table.select(names).rename_columns([name.removeprefix(_COLUMN) for name in names]))


def _kept_targets(column: pa.ChunkedArray) -> Targets:
    if not pa.types.is_fixed_size_list(column.type):
        labels: Targets = to_numpy(column)
        return labels
    values: Targets = to_numpy(whole(column).flatten())
    return values.reshape(len(column), column.type.list_size)


def _id_type(ids: npt.NDArray[Any]) -> pa.DataType:
    return pa.int64() if ids.dtype.kind == "i" else pa.string()
