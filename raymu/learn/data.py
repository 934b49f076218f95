"""Tables from outside into arrays, checked; and the run's own tables."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather
import pyarrow.parquet as pq
from pyarrow import fs

from raymu.config import DataConfig
from raymu.errors import DataInvalid

_SHAPE = b"raymu.shape"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureTable:
    """Samples to predict. features: (samples, *shape) of an integer type, or float32; ids, labels: None where absent"""

    features: npt.NDArray[Any]
    ids: npt.NDArray[Any] | None
    labels: npt.NDArray[np.int64] | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampleTable:
    """Samples to train on.

    ids: (samples,) int64, or str objects; features: (samples, *shape) of an integer type, or float32
    labels: (samples,) int64; owners: (samples,) int, str or None objects; risks: (samples,) float64 within [0, 1]
    """

    ids: npt.NDArray[Any]
    features: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    owners: npt.NDArray[np.object_] | None = None
    risks: npt.NDArray[np.float64] | None = None

    def take(self, rows: npt.NDArray[np.int64]) -> "SampleTable":
        return SampleTable(
            ids=self.ids[rows],
            features=self.features[rows],
            labels=self.labels[rows],
            owners=None if self.owners is None else self.owners[rows],
            risks=None if self.risks is None else self.risks[rows],
        )


def read_table(path: str, fields: DataConfig) -> SampleTable:
    """Read and check a training table (Parquet, Arrow IPC or Feather; a local path or a URI). Raises DataInvalid."""
    table = _load(path)
    wanted = [fields.id, fields.label, *_feature_names(fields), *filter(None, (fields.owner, fields.risk))]
    _require_columns(path, table, wanted)
    ids = _ids(path, table[fields.id], fields.id)
    owners = None if fields.owner is None else _owners(path, table[fields.owner], fields.owner)
    return SampleTable(
        ids=ids,
        features=_features(path, table, fields),
        labels=_labels(path, table[fields.label], fields),
        owners=owners,
        risks=None if fields.risk is None else _risks(path, table[fields.risk], fields.risk),
    )


def read_features(path: str, fields: DataConfig) -> FeatureTable:
    """Read and check a table to predict: ids and labels where there are such columns. Raises DataInvalid."""
    table = _load(path)
    _require_columns(path, table, _feature_names(fields))
    names = table.column_names
    return FeatureTable(
        features=_features(path, table, fields),
        ids=_ids(path, table[fields.id], fields.id) if fields.id in names else None,
        labels=_labels(path, table[fields.label], fields) if fields.label in names else None,
    )


def fit_classes(labels: npt.NDArray[np.int64], classes: int | None) -> int:
    """The number of classes: as configured, or one more than the highest label."""
    return max(2, int(labels.max()) + 1) if classes is None else classes


def to_arrow(table: SampleTable, slices: npt.NDArray[np.int64]) -> pa.Table:
    """The run's own copy of some samples; `from_arrow` is the way back. slices: (samples,) int64"""
    shape = table.features.shape[1:]
    width = int(np.prod(shape))
    values = pa.array(np.ascontiguousarray(table.features).reshape(-1))
    # Parquet gives entries back under this name: a table that is read and written again has the same bytes.
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


def from_arrow(table: pa.Table) -> tuple[SampleTable, npt.NDArray[np.int64]]:
    """returns: the samples, and (samples,) int64 slices"""
    shape = tuple(json.loads(table.schema.metadata[_SHAPE]))
    owners = np.array(table["owner"].to_pylist(), dtype=object) if "owner" in table.column_names else None
    samples = SampleTable(
        ids=_as_ids(table["id"]),
        features=table["features"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, *shape),
        labels=table["label"].to_numpy(),
        owners=owners,
    )
    return samples, table["slice"].to_numpy()


def _load(path: str) -> pa.Table:
    try:
        system, place = fs.FileSystem.from_uri(path if "://" in path else Path(path).absolute().as_uri())
        with system.open_input_file(place) as file:
            if path.endswith(".parquet"):
                table = pq.read_table(file)
            elif path.endswith((".arrow", ".feather", ".ipc")):
                table = _load_arrow(file)
            else:
                raise DataInvalid(path, "is of no known format; give a .parquet, .arrow or .feather file")
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataInvalid(path, f"cannot be read ({_one_line(error)})") from error
    if not table.num_rows:
        raise DataInvalid(path, "holds no rows")
    return table


def _load_arrow(file: pa.NativeFile) -> pa.Table:
    try:
        return pa.ipc.open_file(file).read_all()
    except pa.ArrowInvalid:
        file.seek(0)
        return pa.ipc.open_stream(file).read_all()


def _feature_names(fields: DataConfig) -> list[str]:
    return [fields.features] if isinstance(fields.features, str) else list(fields.features)


def _require_columns(path: str, table: pa.Table, wanted: Iterable[str]) -> None:
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        there = ", ".join(table.column_names[:20])
        raise DataInvalid(path, f"has no column {', '.join(missing)}; it has {there}: set data.* to the columns' names")


def _require_values(path: str, column: pa.ChunkedArray, name: str) -> None:
    if column.null_count:
        raise DataInvalid(path, f"column {name} lacks {column.null_count} values; fill them or drop those rows")


def _ids(path: str, column: pa.ChunkedArray, name: str) -> npt.NDArray[Any]:
    _require_values(path, column, name)
    if not (pa.types.is_integer(column.type) or _is_text(column.type)):
        raise DataInvalid(path, f"ids in column {name} are {column.type}; they must be integers or strings")
    counts = column.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        example = repeated[0]["values"].as_py()
        raise DataInvalid(
            path, f"ids in column {name} are not unique: {len(repeated)} occur again, such as {example!r}"
        )
    return _as_ids(_integers(path, column, name) if pa.types.is_integer(column.type) else column)


def _integers(path: str, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise DataInvalid(path, f"column {name} holds integers beyond 64 bits with a sign; renumber them") from error


def _as_ids(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    if pa.types.is_integer(column.type):
        return column.to_numpy()
    return np.array(column.to_pylist(), dtype=object)


def _id_type(ids: npt.NDArray[Any]) -> pa.DataType:
    return pa.int64() if ids.dtype.kind == "i" else pa.string()


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _labels(path: str, column: pa.ChunkedArray, fields: DataConfig) -> npt.NDArray[np.int64]:
    _require_values(path, column, fields.label)
    if not pa.types.is_integer(column.type):
        raise DataInvalid(path, f"labels in column {fields.label} are {column.type}; number the classes from 0")
    labels: npt.NDArray[np.int64] = _integers(path, column, fields.label).to_numpy()
    if labels.min() < 0:
        raise DataInvalid(path, f"a label in column {fields.label} is {labels.min()}; number the classes from 0")
    if fields.classes is not None and labels.max() >= fields.classes:
        raise DataInvalid(path, f"a label is {labels.max()}, but data.classes is {fields.classes}; raise it")
    return labels


def _owners(path: str, column: pa.ChunkedArray, name: str) -> npt.NDArray[np.object_]:
    if not (pa.types.is_integer(column.type) or _is_text(column.type)):
        raise DataInvalid(path, f"owners in column {name} are {column.type}; they must be integers or strings")
    return np.array(column.to_pylist(), dtype=object)


def _risks(path: str, column: pa.ChunkedArray, name: str) -> npt.NDArray[np.float64]:
    _require_values(path, column, name)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise DataInvalid(path, f"risks in column {name} are {column.type}; they must be probabilities")
    risks: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    if not ((risks >= 0.0) & (risks <= 1.0)).all():
        raise DataInvalid(path, f"risks in column {name} leave [0, 1]; they must be probabilities")
    return risks


def _features(path: str, table: pa.Table, fields: DataConfig) -> npt.NDArray[Any]:
    columns = {name: table[name] for name in _feature_names(fields)}
    for name, column in columns.items():
        _require_values(path, column, name)
    if isinstance(fields.features, str):
        features = _nested(path, columns[fields.features], fields.features)
    else:
        features = np.stack([_nested(path, column, name) for name, column in columns.items()], axis=1)
    if features.dtype.kind == "b":
        features = features.astype(np.uint8)
    if features.dtype.kind not in "iuf":
        raise DataInvalid(path, f"features are {features.dtype}; they must be numbers")
    if features.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            features = features.astype(np.float32, copy=False)
        is_bad = ~np.isfinite(features.reshape(len(features), -1)).all(axis=1)
        if is_bad.any():
            raise DataInvalid(path, f"{is_bad.sum()} rows have NaN or infinite features; mend or drop them")
    return features


def _nested(path: str, column: pa.ChunkedArray, name: str) -> npt.NDArray[Any]:
    """A column of scalars, lists or tensors as one array. returns: (samples, *shape)"""
    samples, kind = len(column), column.type
    is_tensor = isinstance(kind, pa.FixedShapeTensorType)
    if is_tensor:
        column = pa.chunked_array([chunk.storage for chunk in column.chunks])
    shape: list[int] = []
    while _is_list(column.type):
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        if len(lengths) != 1 or not lengths[0]:  # None stands for an inner list that is not there
            raise DataInvalid(
                path, f"lists in column {name} differ in length or are empty; every sample needs as many features"
            )
        shape += lengths
        column = pa.chunked_array([chunk.flatten() for chunk in column.chunks])
    return np.reshape(column.to_numpy(), (samples, *(kind.shape if is_tensor else shape)))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
