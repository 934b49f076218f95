"""Tables of samples: those from outside, checked and converted to arrays, and the run's own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.config import DataConfig
from raymu.core.arrays import Features, Floats, Labels
from raymu.core.partition import Indices
from raymu.core.uri import redacted
from raymu.data.classes import ClassTable, fit_classes
from raymu.data.columns import Column, as_features
from raymu.data.table_union import TableUnion, read_union
from raymu.errors import DataInvalid

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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingTable:
    """A training file: its samples, the classes that they have, and what was converted."""

    samples: SampleTable
    classes: ClassTable
    conversions: tuple[str, ...]
    """Lines for people."""


def read_training_table(location: str, fields: DataConfig, *, is_wide: bool = False) -> TrainingTable:
    """Read and check the table of a new run.

    Args:
        location: Local paths or URIs of Parquet, Arrow IPC or Feather files, of directories of them, or patterns.
        fields: Names of the columns.
        is_wide: True lets features of float64 stay, for a run that may keep them.

    Raises:
        DataInvalid: A file cannot be read, or a column is missing or does not fit.
    """
    return _read_samples(location, fields, None, is_wide=is_wide, is_verbatim=False)


def read_table(
    location: str,
    fields: DataConfig,
    classes: ClassTable | None = None,
    *,
    is_wide: bool = False,
    is_verbatim: bool = False,
) -> SampleTable:
    """Read and check a table of samples with all columns of a training table.

    Args:
        location: As for `read_training_table`.
        fields: Names of the columns.
        classes: The classes of the run. The default takes those of the table.
        is_wide: As for `read_training_table`.
        is_verbatim: True keeps ids and owners that are text as they are in the file, as version 0.1 did.

    Raises:
        DataInvalid: A file cannot be read, or a column is missing or does not fit.
    """
    return _read_samples(location, fields, classes, is_wide=is_wide, is_verbatim=is_verbatim).samples


def read_features(location: str, fields: DataConfig, input_shape: tuple[int, ...] | None = None) -> FeatureTable:
    """Read and check a table to predict, with ids if there is such a column. Labels are not read.

    Args:
        location: As for `read_training_table`.
        fields: Names of the columns.
        input_shape: The shape of a sample, for a table without rows; None refuses such a table.

    Raises:
        DataInvalid: A file cannot be read, or a column is missing or does not fit.
    """
    union, columns = _load(location, fields.feature_columns, [fields.id], may_be_empty=input_shape is not None)
    ids = columns[fields.id].ids().values if fields.id in columns else None
    if not union.rows and input_shape is not None:
        return FeatureTable(features=np.zeros((0, *input_shape), dtype=np.float32), ids=ids, labels=None)
    features, _ = _features(redacted(location), fields, columns, is_wide=True)
    return FeatureTable(features=features, ids=ids, labels=None)


def read_labelled(location: str, fields: DataConfig, classes: ClassTable) -> FeatureTable:
    """Read and check a table with labels, or with None for them if it has no such column.

    Args:
        location: As for `read_training_table`.
        fields: Names of the columns.
        classes: The classes of the run.

    Raises:
        DataInvalid: A file cannot be read, a column is missing or does not fit, or a label is no class of the run.
    """
    source = redacted(location)
    _, columns = _load(location, fields.feature_columns, [fields.id, fields.label])
    features, _ = _features(source, fields, columns, is_wide=True)
    labels = columns[fields.label].labels() if fields.label in columns else None
    return FeatureTable(
        features=features,
        ids=columns[fields.id].ids().values if fields.id in columns else None,
        labels=None if labels is None else classes.numbers(source, fields.label, labels),
    )


def _read_samples(
    location: str, fields: DataConfig, classes: ClassTable | None, *, is_wide: bool, is_verbatim: bool
) -> TrainingTable:
    source, owner, risk = redacted(location), fields.owner, fields.risk
    names = [fields.id, fields.label, *fields.feature_columns, *(name for name in (owner, risk) if name is not None)]
    union, columns = _load(location, names)
    ids = columns[fields.id].ids(is_verbatim=is_verbatim)
    features, notes = _features(source, fields, columns, is_wide=is_wide)
    owners = None if owner is None else columns[owner].owners(is_verbatim=is_verbatim)
    labels = columns[fields.label].labels()
    table = classes or fit_classes(source, fields.label, labels, fields.classes)
    lines = [union.note, ids.note, owners.note if owners else "", labels.note, table.note(fields.label), *notes]
    return TrainingTable(
        samples=SampleTable(
            ids=ids.values,
            features=features,
            labels=table.numbers(source, fields.label, labels),
            owners=None if owners is None else owners.values,
            risks=None if risk is None else columns[risk].risks(),
        ),
        classes=table,
        conversions=tuple(line for line in lines if line),
    )


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


def _load(
    location: str, names: Sequence[str], optional: Sequence[str] = (), *, may_be_empty: bool = False
) -> tuple[TableUnion, dict[str, Column]]:
    """Read columns of all files of a location. Raises DataInvalid if there are no rows, or a column of `names` is missing."""
    union, source = read_union(location, [*names, *optional]), redacted(location)
    if not union.rows and not may_be_empty:
        raise DataInvalid(source, "holds no rows")
    missing = [name for name in names if name not in union.names]
    if missing:
        raise DataInvalid(
            source,
            f"has no column {', '.join(missing)}; it has {', '.join(union.names[:20])}: set data.* to the columns' names",
        )
    return union, {name: Column.of(source, union.table, name) for name in union.table.column_names}


def _features(
    source: str, fields: DataConfig, columns: Mapping[str, Column], *, is_wide: bool
) -> tuple[Features, tuple[str, ...]]:
    """Return one column of lists as it is, or several columns side by side: (samples, *shape), and what was converted."""
    names = fields.feature_columns
    read = [columns[name].features() for name in names]
    parts, notes = [part.values for part in read], tuple(part.note for part in read)
    if len({part.shape[1:] for part in parts}) > 1:
        raise DataInvalid(
            source, f"columns {', '.join(names)} differ in shape; each needs as many numbers as the others"
        )
    if not isinstance(fields.features, str):
        return as_features(source, np.stack(parts, axis=1), names, is_wide=is_wide), notes
    if parts[0].ndim == 1:
        raise DataInvalid(
            source, f"column {names[0]} holds single numbers; list such columns: data.features: [{names[0]}]"
        )
    return as_features(source, parts[0], is_wide=is_wide), notes


def _id_type(ids: npt.NDArray[Any]) -> pa.DataType:
    return pa.int64() if ids.dtype.kind == "i" else pa.string()


def read_test_data(data: DataConfig, classes: ClassTable, input_shape: tuple[int, ...]) -> tuple[Features, Labels]:
    """Read the test file of a configuration that has one. Raises DataInvalid.

    Returns:
        Features, (samples, *input shape), and labels, (samples,).
    """
    assert data.test is not None, "the configuration was checked"
    table, source = read_labelled(data.test, data, classes), redacted(data.test)
    if table.labels is None or not len(table.labels):
        raise DataInvalid(source, f"has no labels in a column {data.label}; data.track_accuracy needs them")
    if table.features.shape[1:] != input_shape:
        raise DataInvalid(
            source, f"has features of shape {table.features.shape[1:]}, the training data of {input_shape}"
        )
    return table.features, table.labels
