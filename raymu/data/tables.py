"""Tables of samples from outside, checked and converted to arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.config import DataConfig
from raymu.config.data import ALL_COLUMNS
from raymu.core.arrays import Features, Floats, Targets
from raymu.core.partition import Indices
from raymu.core.uri import redacted
from raymu.data.arrow_values import plain
from raymu.data.classes import ClassTable
from raymu.data.column_kinds import check_columns, find_kinds
from raymu.data.columns import Column, as_features
from raymu.data.frames import TableData, source_of
from raymu.data.pandas_index import is_unnamed
from raymu.data.rows import Columns, Rows, as_array, joined_rows
from raymu.data.sample_form import ARRAY, SampleForm
from raymu.data.table_union import TableUnion, read_union
from raymu.data.targets import read_targets
from raymu.errors import DataInvalid


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureTable:
    """Samples to predict."""

    features: Rows
    """(samples, *shape), or columns."""
    ids: npt.NDArray[Any] | None
    """(samples,) int64, or str objects; None if the table has no ids."""
    labels: Targets | None
    """(samples,) or (samples, outputs); None if the table has no labels."""

    @property
    def array(self) -> Features:
        """Features that are an array: (samples, *shape)."""
        return as_array(self.features)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampleTable:
    """Samples to train on."""

    ids: npt.NDArray[Any]
    """(samples,) int64, or str objects."""
    features: Rows
    """(samples, *shape), or columns."""
    labels: Targets
    """(samples,) int64, or (samples, outputs) float32."""
    owners: npt.NDArray[np.object_] | None = None
    """(samples,) int, str or None objects."""
    risks: Floats | None = None
    """(samples,) within [0, 1]: each sample's revocation probability."""

    @property
    def array(self) -> Features:
        """Features that are an array: (samples, *shape)."""
        return as_array(self.features)

    def take(self, rows: Indices) -> "SampleTable":
        """Select rows by their indices."""
        return SampleTable(
            ids=self.ids[rows],
            features=self.features[rows],
            labels=self.labels[rows],
            owners=None if self.owners is None else self.owners[rows],
            risks=None if self.risks is None else self.risks[rows],
        )


def joined_tables(parts: Sequence[SampleTable]) -> SampleTable:
    """Return the samples of several tables of one form, in their order."""
    if len(parts) == 1:
        return parts[0]
    owners = [part.owners for part in parts if part.owners is not None]
    risks = [part.risks for part in parts if part.risks is not None]
    return SampleTable(
        ids=np.concatenate([part.ids for part in parts]),
        features=joined_rows([part.features for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        owners=np.concatenate(owners) if owners else None,
        risks=np.concatenate(risks) if risks else None,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingTable:
    """A training file: its samples, the classes that they have, and what was converted."""

    samples: SampleTable
    classes: ClassTable
    conversions: tuple[str, ...]
    """Lines for people."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Kinds of the columns, with the task `tabular`."""


def read_training_table(
    data: TableData,
    fields: DataConfig,
    form: SampleForm = ARRAY,
    *,
    classes: ClassTable | None = None,
    is_wide: bool = False,
) -> TrainingTable:
    """Read and check the table of a new run, or one that is added to a run.

    Args:
        data: Local paths or URIs of Parquet, Arrow IPC or Feather files, of directories of them, or patterns; or a table in
            memory.
        fields: Names of the columns.
        form: The form of the samples.
        classes: The classes of the run. The default takes those of the table.
        is_wide: True lets features of float64 stay, for a run that may keep them.

    Raises:
        DataInvalid: A file cannot be read, or a column is missing or does not fit.
    """
    return _read_samples(data, fields, classes, form, is_wide=is_wide, is_verbatim=False)


def read_table(
    data: TableData,
    fields: DataConfig,
    classes: ClassTable | None = None,
    form: SampleForm = ARRAY,
    *,
    is_wide: bool = False,
    is_verbatim: bool = False,
) -> SampleTable:
    """Read and check a table of samples with all columns of a training table.

    Args:
        data: As for `read_training_table`.
        fields: Names of the columns.
        classes: The classes of the run. The default takes those of the table.
        form: The form of the samples.
        is_wide: As for `read_training_table`.
        is_verbatim: True keeps ids and owners that are text as they are in the file, as version 0.1 did.

    Raises:
        DataInvalid: A file cannot be read, or a column is missing or does not fit.
    """
    return _read_samples(data, fields, classes, form, is_wide=is_wide, is_verbatim=is_verbatim).samples


def read_features(
    data: TableData, fields: DataConfig, input_shape: tuple[int, ...] | None = None, form: SampleForm = ARRAY
) -> FeatureTable:
    """Read and check a table to predict, with ids if there is such a column. Labels are not read.

    Args:
        data: As for `read_training_table`.
        fields: Names of the columns.
        input_shape: The shape of a sample, for a table without rows; None refuses such a table.
        form: The form of the samples.

    Raises:
        DataInvalid: A file cannot be read, or a column is missing or does not fit.
    """
    names = form.columns or fields.feature_columns
    union, columns = _load(data, names, [fields.id], may_be_empty=input_shape is not None)
    ids = columns[fields.id].ids().values if fields.id in columns else None
    if not union.rows and form.columns is None and input_shape is not None:
        return FeatureTable(features=np.zeros((0, *input_shape), dtype=np.float32), ids=ids, labels=None)
    features, _ = feature_rows(source_of(data), fields, columns, form, is_wide=True)
    return FeatureTable(features=features, ids=ids, labels=None)


def read_labelled(data: TableData, fields: DataConfig, classes: ClassTable, form: SampleForm = ARRAY) -> FeatureTable:
    """Read and check a table with labels, or with None for them if it has no such column.

    Args:
        data: As for `read_training_table`.
        fields: Names of the columns.
        classes: The classes of the run.
        form: The form of the samples.

    Raises:
        DataInvalid: A file cannot be read, a column is missing or does not fit, or a label is no class of the run.
    """
    source = source_of(data)
    _, columns = _load(data, form.columns or fields.feature_columns, [fields.id, *fields.label_columns])
    features, _ = feature_rows(source, fields, columns, form, is_wide=True)
    labels = None
    if all(name in columns for name in fields.label_columns):
        read = [columns[name] for name in fields.label_columns]
        labels = read_targets(source, read, form.target, configured=fields.classes, classes=classes).values
    return FeatureTable(
        features=features, ids=columns[fields.id].ids().values if fields.id in columns else None, labels=labels
    )


def _read_samples(
    data: TableData,
    fields: DataConfig,
    classes: ClassTable | None,
    form: SampleForm,
    *,
    is_wide: bool,
    is_verbatim: bool,
) -> TrainingTable:
    source, owner, risk = source_of(data), fields.owner, fields.risk
    others = [fields.id, *fields.label_columns, *(name for name in (owner, risk) if name is not None)]
    features_of = form.columns or fields.feature_columns
    is_all = features_of == (ALL_COLUMNS,)
    named = [fields.id, *fields.label_columns, *(() if is_all else features_of), *others]
    union, columns = _load(data, list(dict.fromkeys(named)), is_all=is_all)
    if is_all:
        features_of = tuple(name for name in union.names if name not in others and not is_unnamed(name))
        form = replace(form, columns=features_of)
    kind_notes: tuple[str, ...] = ()
    if form.tabular is not None and not form.kinds:
        typed = pa.table({name: columns[name].values for name in features_of})
        table_kinds = find_kinds(source, typed, form.tabular, is_all=is_all)
        form = replace(
            form, columns=tuple(table_kinds.kinds), kinds={name: str(kind) for name, kind in table_kinds.kinds.items()}
        )
        kind_notes = table_kinds.notes
    ids = columns[fields.id].ids(is_verbatim=is_verbatim)
    features, notes = feature_rows(source, fields, columns, form, is_wide=is_wide)
    owners = None if owner is None else columns[owner].owners(is_verbatim=is_verbatim)
    read = [columns[name] for name in fields.label_columns]
    targets = read_targets(source, read, form.target, configured=fields.classes, classes=classes)
    lines = [union.note, ids.note, owners.note if owners else "", *targets.notes, *notes, *kind_notes]
    return TrainingTable(
        samples=SampleTable(
            ids=ids.values,
            features=features,
            labels=targets.values,
            owners=None if owners is None else owners.values,
            risks=None if risk is None else columns[risk].risks(),
        ),
        classes=targets.classes,
        conversions=tuple(line for line in lines if line),
        kinds=form.kinds,
    )


def _load(
    data: TableData,
    names: Sequence[str],
    optional: Sequence[str] = (),
    *,
    may_be_empty: bool = False,
    is_all: bool = False,
) -> tuple[TableUnion, dict[str, Column]]:
    """Read columns of a table. Raises DataInvalid if there are no rows, or a column of `names` is missing."""
    union, source = read_union(data, None if is_all else [*names, *optional]), source_of(data)
    if not union.rows and not may_be_empty:
        raise DataInvalid(source, "holds no rows")
    missing = [name for name in names if name not in union.names]
    if missing:
        raise DataInvalid(
            source,
            f"has no column {', '.join(missing)}; it has {', '.join(union.names[:20])}: set data.* to the columns' names",
        )
    return union, {name: Column.of(source, union.table, name) for name in union.table.column_names}


def feature_rows(
    source: str, fields: DataConfig, columns: Mapping[str, Column], form: SampleForm, *, is_wide: bool
) -> tuple[Rows, tuple[str, ...]]:
    """Return the samples' features in their form, and what was converted. Raises DataInvalid."""
    if form.columns is None:
        return _features(source, fields, columns, is_wide=is_wide)
    table = pa.table({name: wide_values(columns[name].values) for name in form.columns})
    if form.tabular is not None:
        check_columns(source, table, form.kinds, refuses_missing=form.tabular.missing == "refuse")
    return Columns.of(table), ()


def wide_values(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return plain values, and bytes in a type without a limit of 2 GiB for all rows together, which pictures soon reach."""
    values = plain(values)
    return values.cast(pa.large_binary()) if pa.types.is_binary(values.type) else values


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


def read_test_data(
    data: DataConfig, classes: ClassTable, input_shape: tuple[int, ...], form: SampleForm = ARRAY
) -> tuple[Rows, Targets]:
    """Read the test file of a configuration that has one. Raises DataInvalid.

    Returns:
        Features, (samples, *input shape) or columns, and labels, (samples,) or (samples, outputs).
    """
    assert data.test is not None, "the configuration was checked"
    table, source = read_labelled(data.test, data, classes, form), redacted(data.test)
    if table.labels is None or not len(table.labels):
        names = ", ".join(data.label_columns)
        raise DataInvalid(source, f"has no labels in a column {names}; data.track_accuracy needs them")
    require_shape(source, table.features, input_shape)
    return table.features, table.labels


def require_shape(source: str, features: Rows, input_shape: tuple[int, ...]) -> None:
    """Raise DataInvalid if samples that are arrays have another shape than the run's."""
    if not isinstance(features, Columns) and features.shape[1:] != input_shape:
        raise DataInvalid(source, f"has features of shape {features.shape[1:]}, the training data of {input_shape}")
