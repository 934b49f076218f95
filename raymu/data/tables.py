"""Tables of samples: those from outside, checked and converted to arrays, and the run's own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from raymu.config import DataConfig
from raymu.core.arrays import Features, Floats, Labels
from raymu.core.partition import Indices
from raymu.core.uri import LEAVE_SECRETS_OUT, has_credentials, is_uri, redacted
from raymu.data.columns import Column, as_features
from raymu.data.pandas_index import with_pandas_index
from raymu.errors import DataInvalid
from raymu.text import one_line

_SHAPE = b"raymu.shape"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureTable:
    """Samples to predict."""

    features: Features
    """(samples, *shape)."""
    ids: npt.NDArray[Any] | None
    """(samples,) int64, or str objects; None if the table has no ids."""
    labels: Labels | None
    """(samples,); None if the table has no labels."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampleTable:
    """Samples to train on."""

    ids: npt.NDArray[Any]
    """(samples,) int64, or str objects."""
    features: Features
    """(samples, *shape)."""
    labels: Labels
    """(samples,)."""
    owners: npt.NDArray[np.object_] | None = None
    """(samples,) int, str or None objects."""
    risks: Floats | None = None
    """(samples,) within [0, 1]: each sample's revocation probability."""

    def take(self, rows: Indices) -> "SampleTable":
        """Select rows by their indices."""
        return SampleTable(
            ids=self.ids[rows],
            features=self.features[rows],
            labels=self.labels[rows],
            owners=None if self.owners is None else self.owners[rows],
            risks=None if self.risks is None else self.risks[rows],
        )


def read_table(path: str, fields: DataConfig, *, is_wide: bool = False) -> SampleTable:
    """Read and check a training table.

    Args:
        path: Local path or URI of a Parquet, Arrow IPC or Feather file.
        fields: Names of the columns.
        is_wide: True lets features of float64 stay, for a run that may keep them.

    Raises:
        DataInvalid: The file cannot be read, or a column is missing or does not fit.
    """
    owner, risk = fields.owner, fields.risk
    table, path = _load(path), redacted(path)
    columns = _columns(path, table, [fields.id, fields.label, *fields.feature_columns, owner, risk])
    return SampleTable(
        ids=columns[fields.id].ids(),
        features=_features(path, fields, columns, is_wide=is_wide),
        labels=columns[fields.label].labels(fields.classes),
        owners=None if owner is None else columns[owner].owners(),
        risks=None if risk is None else columns[risk].risks(),
    )


def read_features(path: str, fields: DataConfig) -> FeatureTable:
    """Read and check a table to predict, with ids and labels if there are such columns. Raises DataInvalid."""
    table, path = _load(path), redacted(path)
    optional = [name for name in (fields.id, fields.label) if name in table.column_names]
    columns = _columns(path, table, [*fields.feature_columns, *optional])
    return FeatureTable(
        features=_features(path, fields, columns, is_wide=True),
        ids=columns[fields.id].ids() if fields.id in optional else None,
        labels=columns[fields.label].labels(fields.classes) if fields.label in optional else None,
    )


def fit_classes(labels: Labels, classes: int | None) -> int:
    """Return the number of classes: as configured, or one more than the highest label."""
    return max(2, int(labels.max()) + 1) if classes is None else classes


def to_arrow(table: SampleTable, slices: Indices) -> pa.Table:
    """Convert samples to the run's own table, which `from_arrow` reads. slices: (samples,)"""
    shape = table.features.shape[1:]
    width = int(np.prod(shape))
    values = pa.array(np.ascontiguousarray(table.features).reshape(-1))
    # Parquet reads entries under this name, so that a table which is read and written again has the same bytes.
    features = pa.list_(pa.field("element", values.type), width)
    columns = {
        "id": pa.array(table.ids, type=_id_type(table.ids)),
        "label": pa.array(table.labels),
        "slice": pa.array(slices, type=pa.int64()),
        "features": pa.FixedSizeListArray.from_arrays(values, type=features),
    }
    if table.owners is not None:
        columns["owner"] = pa.array([None if owner is None else str(owner) for owner in table.owners], type=pa.string())
    return pa.table(columns).replace_schema_metadata({_SHAPE: json.dumps(shape).encode()})


def from_arrow(table: pa.Table) -> tuple[SampleTable, Indices]:
    """Read the run's own table. Returns the samples and their slices, (samples,)."""
    shape, ids = tuple(json.loads(table.schema.metadata[_SHAPE])), table["id"]
    owners = np.array(table["owner"].to_pylist(), dtype=object) if "owner" in table.column_names else None
    samples = SampleTable(
        ids=ids.to_numpy() if pa.types.is_integer(ids.type) else np.array(ids.to_pylist(), dtype=object),
        features=table["features"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, *shape),
        labels=table["label"].to_numpy(),
        owners=owners,
    )
    return samples, table["slice"].to_numpy()


def require_no_secret(location: str) -> None:
    """Raise DataInvalid if a URI has a secret in it: a run keeps the locations of its data."""
    if has_credentials(location):
        raise DataInvalid(redacted(location), LEAVE_SECRETS_OUT)


def _load(path: str) -> pa.Table:
    require_no_secret(path)
    source = redacted(path)
    try:
        system, name = fs.FileSystem.from_uri(path if is_uri(path) else Path(path).absolute().as_uri())
        with system.open_input_file(name) as file:
            if name.endswith(".parquet"):
                table = pq.read_table(file)
            elif name.endswith((".arrow", ".feather", ".ipc")):
                table = _load_arrow(file)
            else:
                raise DataInvalid(source, "is of no known format; give a .parquet, .arrow or .feather file")
        table = with_pandas_index(table)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataInvalid(source, f"cannot be read ({one_line(error)}); give a whole file that is there") from error
    if not table.num_rows:
        raise DataInvalid(source, "holds no rows")
    return table


def _load_arrow(file: pa.NativeFile) -> pa.Table:
    try:
        return pa.ipc.open_file(file).read_all()
    except pa.ArrowInvalid:
        file.seek(0)
        return pa.ipc.open_stream(file).read_all()


def _columns(path: str, table: pa.Table, configured: Sequence[str | None]) -> dict[str, Column]:
    """Take columns by their names; None is skipped. Raises DataInvalid if one is missing, or is there twice."""
    names = [name for name in configured if name is not None]
    present = table.column_names
    missing = [name for name in names if name not in present]
    if missing:
        raise DataInvalid(
            path,
            f"has no column {', '.join(missing)}; it has {', '.join(present[:20])}: set data.* to the columns' names",
        )
    repeated = [name for name in names if present.count(name) > 1]
    if repeated:
        raise DataInvalid(path, f"has more than one column {repeated[0]}; rename or drop the others")
    return {name: Column.of(path, table, name) for name in names}


def _features(path: str, fields: DataConfig, columns: Mapping[str, Column], *, is_wide: bool) -> Features:
    """Return one column of lists as it is, or several columns side by side: (samples, *shape)."""
    names = fields.feature_columns
    parts = [columns[name].features() for name in names]
    if len({part.shape[1:] for part in parts}) > 1:
        raise DataInvalid(path, f"columns {', '.join(names)} differ in shape; each needs as many numbers as the others")
    if not isinstance(fields.features, str):
        return as_features(path, np.stack(parts, axis=1), names, is_wide=is_wide)
    if parts[0].ndim == 1:
        raise DataInvalid(
            path, f"column {names[0]} holds single numbers; list such columns: data.features: [{names[0]}]"
        )
    return as_features(path, parts[0], is_wide=is_wide)


def _id_type(ids: npt.NDArray[Any]) -> pa.DataType:
    return pa.int64() if ids.dtype.kind == "i" else pa.string()


def read_test_data(data: DataConfig, input_shape: tuple[int, ...]) -> tuple[Features, Labels]:
    """Read the test file of a configuration that has one. Raises DataInvalid.

    Returns:
        Features, (samples, *input shape), and labels, (samples,).
    """
    assert data.test is not None, "the configuration was checked"
    table: FeatureTable = read_features(data.test, data)
    if table.labels is None or not len(table.labels):
        raise DataInvalid(
            redacted(data.test), f"has no labels in a column {data.label}; data.track_accuracy needs them"
        )
    if table.features.shape[1:] != input_shape:
        raise DataInvalid(
            redacted(data.test), f"has features of shape {table.features.shape[1:]}, the training data of {input_shape}"
        )
    return table.features, table.labels
