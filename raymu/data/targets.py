"""Targets of samples, read from a table: the number of a class, several labels at once, or numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymu.config import TargetName
from raymu.core.arrays import Labels, Targets
from raymu.data.arrow_values import is_list, plain
from raymu.data.classes import ClassTable, fit_classes
from raymu.data.columns import Column
from raymu.data.values import labels as read_labels
from raymu.data.values import require_none_missing
from raymu.errors import DataInvalid
from raymu.text import one_line, plural


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TargetTable:
    """The targets of a table."""

    values: Targets
    """(samples,) int64, classes; or (samples, outputs) float32, 1 for a label that a sample has, or numbers."""
    classes: ClassTable
    """The classes, labels or columns of numbers, in the order of the model's outputs."""
    notes: tuple[str, ...]
    """What was converted, for people."""


def read_targets(
    source: str,
    columns: Sequence[Column],
    target: TargetName,
    *,
    configured: int | None,
    classes: ClassTable | None = None,
) -> TargetTable:
    """Read the targets of all samples.

    Args:
        source: The table, for messages.
        columns: The columns of `data.label`.
        target: What they say.
        configured: `data.classes`.
        classes: The classes of the run. The default takes those of the table.

    Raises:
        DataInvalid: A target is missing, of another type, or not one of the run's classes.
    """
    match target:
        case TargetName.CLASSES:
            return _classes(source, columns[0], configured, classes)
        case TargetName.LABELS:
            return _several_labels(source, columns, classes)
        case TargetName.REGRESSION:
            return _numbers(source, columns)


def _classes(source: str, column: Column, configured: int | None, classes: ClassTable | None) -> TargetTable:
    labels = column.labels()
    table = classes or fit_classes(source, column.name, labels, configured)
    notes = (labels.note, table.note(column.name) if classes is None else "")
    return TargetTable(
        values=table.numbers(source, column.name, labels),
        classes=table,
        notes=tuple(note for note in notes if note),
    )


def _several_labels(source: str, columns: Sequence[Column], classes: ClassTable | None) -> TargetTable:
    if len(columns) > 1:
        matrix = np.stack([_marks(source, column.name, column.values) for column in columns], axis=1)
        table = ClassTable(count=len(columns), names=tuple(column.name for column in columns))
        return TargetTable(values=matrix, classes=_same(source, table, classes), notes=())
    column, values = columns[0], plain(columns[0].values)
    if not is_list(values.type):
        raise DataInvalid(
            source,
            f"column {one_line(column.name)} is {one_line(str(values.type))}; task.target labels needs a list of "
            "labels in each row, or several columns of 0 and 1 in data.label",
        )
    require_none_missing(source, column.name, values.null_count)
    elements = pa.chunked_array([chunk.flatten() for chunk in values.chunks])
    if pa.types.is_boolean(elements.type) or pa.types.is_fixed_size_list(values.type):
        return _rows_of_marks(source, column.name, values, elements, classes)
    labels = read_labels(source, column.name, elements)
    require_none_missing(source, column.name, labels.values.count(None))
    table = classes or label_table(source, column.name, labels.values)
    positions = {label: number for number, label in enumerate(table.names or range(table.count))}
    texts = {str(label): number for label, number in positions.items()}
    matrix = np.zeros((len(values), table.count), dtype=np.float32)
    rows = np.repeat(np.arange(len(values)), pc.list_value_length(values).to_numpy())
    for row, label in zip(rows, labels.values, strict=True):
        number = positions.get(label, texts.get(str(label)))  # type: ignore[arg-type]  # none is missing
        if number is None:
            raise DataInvalid(
                source,
                f"a label in column {one_line(column.name)} is {one_line(repr(label))}, which is none of the run's; "
                "mend it or drop those rows",
            )
        matrix[row, number] = 1.0
    notes = (label_table_note(column.name, table),) if classes is None else ()
    return TargetTable(values=matrix, classes=table, notes=notes)


def label_table_note(name: str, table: ClassTable) -> str:
    """Return the line that says how many labels a column of lists has."""
    return f"labels in column {one_line(name)}: {plural(table.count, 'label')}, any number of which a sample may have"


def label_table(source: str, name: str, labels: Sequence[object]) -> ClassTable:
    """Return the labels of a column of lists, in their order. Raises DataInvalid if there are none."""
    names = tuple(sorted({label for label in labels if label is not None}))  # type: ignore[type-var]  # of one type
    if not names:
        raise DataInvalid(source, f"no row of column {one_line(name)} has a label; training needs some")
    return ClassTable(count=len(names), names=names)  # type: ignore[arg-type]


def _rows_of_marks(
    source: str, name: str, values: pa.ChunkedArray, elements: pa.ChunkedArray, classes: ClassTable | None
) -> TargetTable:
    lengths = pc.unique(pc.list_value_length(values)).to_pylist()
    if len(lengths) != 1 or not lengths[0]:
        raise DataInvalid(
            source, f"lists of 0 and 1 in column {one_line(name)} differ in length or are empty; give one mark a label"
        )
    matrix = _marks(source, name, elements).reshape(len(values), lengths[0])
    return TargetTable(values=matrix, classes=_same(source, ClassTable(count=lengths[0]), classes), notes=())


def _same(source: str, table: ClassTable, classes: ClassTable | None) -> ClassTable:
    if classes is not None and classes.count != table.count:
        raise DataInvalid(
            source, f"has {plural(table.count, 'label')} a sample, and the run {classes.count}; give as many"
        )
    return classes or table


def _marks(source: str, name: str, values: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return a column of booleans, or of 0 and 1, as (rows,) float32."""
    marks = _floats(source, name, values)
    if not np.isin(marks, (0.0, 1.0)).all():
        raise DataInvalid(source, f"column {one_line(name)} has numbers other than 0 and 1, which mark labels; mend it")
    return marks.astype(np.float32)


def _numbers(source: str, columns: Sequence[Column]) -> TargetTable:
    parts = []
    for column in columns:
        values = plain(column.values)
        if is_list(values.type):
            numbers = column.features().values
            parts.append(_finite(source, column.name, numbers.reshape(len(numbers), -1).astype(np.float64)))
        else:
            parts.append(_finite(source, column.name, _floats(source, column.name, values))[:, None])
    matrix = np.concatenate(parts, axis=1).astype(np.float32)
    is_named = matrix.shape[1] == len(columns)
    names = tuple(column.name for column in columns) if is_named else None
    return TargetTable(values=matrix, classes=ClassTable(count=matrix.shape[1], names=names), notes=())


def _finite(
    source: str, name: str, numbers: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    with np.errstate(over="ignore"):
        if not np.isfinite(numbers.astype(np.float32)).all():
            raise DataInvalid(
                source,
                f"column {one_line(name)} has targets that are NaN, infinite or beyond float32; mend or drop them",
            )
    return numbers


def _floats(source: str, name: str, values: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = plain(values)
    require_none_missing(source, name, values.null_count)
    kind = values.type
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        raise DataInvalid(source, f"column {one_line(name)} is {one_line(str(kind))}; the target needs numbers")
    numbers: np.ndarray[tuple[int], np.dtype[np.float64]] = values.cast(pa.float64(), safe=False).to_numpy()
    return numbers


def class_counts(labels: Labels | Targets) -> Mapping[int, int]:
    """Count the samples of each class; empty for targets that are no classes."""
    if labels.ndim > 1:
        return {}
    numbers, counts = np.unique(labels, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))
