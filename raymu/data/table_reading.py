"""How a table is read: what its parts are read by, decided from its types and from small statistics of its values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from raymu.config import DataConfig, TargetName
from raymu.config.data import ALL_COLUMNS
from raymu.data.arrow_values import is_list, plain
from raymu.data.classes import ClassTable, fit_classes
from raymu.data.column_kinds import find_kinds
from raymu.data.frames import TableData
from raymu.data.pandas_index import is_unnamed
from raymu.data.sample_form import SampleForm
from raymu.data.table_stream import TableStream, open_stream
from raymu.data.targets import label_table, label_table_note
from raymu.data.values import (
    LabelColumn,
    ValueFacts,
    conversion_note,
    kept_column,
    needs_facts,
    require_none_missing,
    value_facts,
)
from raymu.errors import DataInvalid

_MOST_PARTS = 64
"""Batches whose distinct labels are kept side by side."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TableReading:
    """How each part of a training table is read. A part is read by this alone, without the others."""

    source: str
    """The table, for messages."""
    fields: DataConfig
    form: SampleForm
    """The form of the samples, with the columns and the kinds that the table has."""
    classes: ClassTable | None
    """The classes of the table; None where each part has the same, such as columns of marks and numbers."""
    facts: Mapping[str, ValueFacts] = field(default_factory=dict)
    """Column -> its facts, for those columns that are kept in a form which depends on all values."""
    notes: tuple[str, ...] = ()
    """What was converted in the whole table, for people: of its files; of its labels; of its kinds."""
    label_notes: tuple[str, ...] = ()
    kind_notes: tuple[str, ...] = ()
    is_verbatim: bool = False
    """Whether ids and owners that are text stay as they are, as in version 0.1."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read of each part."""
        fields = self.fields
        features = self.form.columns or fields.feature_columns
        others = (name for name in (fields.owner, fields.risk) if name is not None)
        return tuple(dict.fromkeys((fields.id, *fields.label_columns, *features, *others)))

    def has_integer_ids(self, schema: pa.Schema) -> bool:
        """Return whether ids are kept as integers. schema: The columns of the table"""
        name = self.fields.id
        kept = kept_column(self.source, "ids", name, _no_rows(schema.field(name).type), self.facts.get(name))
        return bool(pa.types.is_integer(kept.values.type))


def open_table(
    data: TableData,
    fields: DataConfig,
    form: SampleForm,
    *,
    classes: ClassTable | None = None,
    is_verbatim: bool = False,
) -> tuple[TableStream, TableReading]:
    """Open the table of a new run, or one that is added to a run, and decide how its parts are read.

    Args:
        data: Local paths or URIs of files, of directories of them, or patterns; or a table in memory.
        fields: Names of the columns.
        form: The form of the samples.
        classes: The classes of the run. The default takes those of the table.
        is_verbatim: True keeps ids and owners that are text as they are in the file, as version 0.1 did.

    Raises:
        DataInvalid: A file cannot be read, or a column is missing, or its type or its labels do not fit.
    """
    others = [fields.id, *fields.label_columns, *(name for name in (fields.owner, fields.risk) if name is not None)]
    features = form.columns or fields.feature_columns
    is_all = features == (ALL_COLUMNS,)
    named = list(dict.fromkeys([*others, *(() if is_all else features)]))
    stream = open_stream(data, None if is_all else named)
    require_rows(stream)
    require_columns(stream, named)
    if is_all:
        features = tuple(name for name in stream.names if name not in others and not is_unnamed(name))
        form = replace(form, columns=features)
    kind_notes: tuple[str, ...] = ()
    if form.tabular is not None and not form.kinds:
        of_columns = find_kinds(stream.source, _typed(stream, features), form.tabular, is_all=is_all)
        form = replace(
            form, columns=tuple(of_columns.kinds), kinds={name: str(kind) for name, kind in of_columns.kinds.items()}
        )
        kind_notes = of_columns.notes
    reading = TableReading(
        source=stream.source,
        fields=fields,
        form=form,
        classes=classes,
        facts=facts_of(stream, others[: -1 if fields.risk is not None else None]),
        notes=(stream.note,),
        kind_notes=kind_notes,
        is_verbatim=is_verbatim,
    )
    return stream, _with_classes(stream, reading)


def require_rows(stream: TableStream) -> None:
    """Raise DataInvalid if a table has no rows."""
    if not (stream.rows or (stream.rows is None and any(True for _ in stream.batches([], rows=1)))):
        raise DataInvalid(stream.source, "holds no rows")


def require_columns(stream: TableStream, names: Sequence[str]) -> None:
    """Raise DataInvalid if a table lacks a column."""
    missing = [name for name in names if name not in stream.names]
    if missing:
        raise DataInvalid(
            stream.source,
            f"has no column {', '.join(missing)}; it has {', '.join(stream.names[:20])}: set data.* to the columns' names",
        )


def _typed(stream: TableStream, names: Sequence[str]) -> pa.Table:
    """Return columns from whose types their kinds follow; of lists, with one row for each length that the table has."""
    columns = {name: _no_rows(stream.schema.field(name).type) for name in names}
    lists = [name for name in names if _has_open_length(columns[name].type)]
    rows = {name: columns[name] for name in lists}
    for batch in stream.batches(lists) if lists else ():
        for name in lists:
            rows[name] = _distinct_lengths(
                pa.chunked_array([*rows[name].chunks, *batch[name].chunks], batch[name].type)
            )
    most = max((len(column) for column in rows.values()), default=0)
    padded = {
        name: pa.chunked_array([*column.chunks, pa.nulls(most - len(column), column.type)], column.type)
        for name, column in (columns | rows).items()
    }
    return pa.table(padded)


def _no_rows(kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(0, kind)])


def _has_open_length(kind: pa.DataType) -> bool:
    """Return whether lists, or lists inside of them, may differ in length."""
    while is_list(kind):
        if not pa.types.is_fixed_size_list(kind):
            return True
        kind = kind.value_type
    return False


def _distinct_lengths(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a few rows that have all lengths of lists which the column has, as far as its kind depends on them."""
    values = column.drop_null().combine_chunks()
    values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
    signatures = [_signature(value) for value in values.to_pylist()]
    first: dict[object, int] = {}
    for row, signature in enumerate(signatures):
        first.setdefault(signature, row)
    kept = list(first.values())[:4]
    return pa.chunked_array([values.take(pa.array(kept, pa.int64()))], column.type)


def _signature(value: object) -> object:
    """Return the lengths of a list and of all lists inside of it."""
    if not isinstance(value, list):
        return None
    inner = {_signature(part) for part in value if isinstance(part, list)}
    return len(value), frozenset(inner)


def facts_of(stream: TableStream, names: Sequence[str]) -> dict[str, ValueFacts]:
    """Return the facts of the columns whose form depends on them, of one pass over these alone."""
    open_names = [name for name in dict.fromkeys(names) if needs_facts(_no_rows(stream.schema.field(name).type))]
    facts = {name: ValueFacts() for name in open_names}
    for batch in stream.batches(open_names) if open_names else ():
        facts |= {name: facts[name] | value_facts(batch[name]) for name in open_names}
    return facts


def _with_classes(stream: TableStream, reading: TableReading) -> TableReading:
    """Fit the classes of a table to its labels, of one pass over these alone, if the run does not have them already."""
    fields, form = reading.fields, reading.form
    name = fields.label_columns[0]
    if form.target is TargetName.CLASSES:
        labels, done = _distinct(stream, name, reading.facts.get(name), lambda batch: batch[name])
        classes = reading.classes or fit_classes(stream.source, name, labels, fields.classes)
        notes = (conversion_note("labels", name, done), "" if reading.classes else classes.note(name))
        return replace(reading, classes=classes, label_notes=tuple(note for note in notes if note))
    if reading.classes is not None:
        return reading
    kind = plain(_no_rows(stream.schema.field(name).type)).type
    is_listed = is_list(kind) and not pa.types.is_fixed_size_list(kind)
    if form.target is not TargetName.LABELS or len(fields.label_columns) > 1 or not is_listed:
        return reading
    if pa.types.is_boolean(plain(_no_rows(kind.value_type)).type):
        return reading
    labels, _ = _distinct(stream, name, None, lambda batch: _elements(stream.source, name, batch[name]))
    classes = label_table(stream.source, name, labels.values)
    return replace(reading, classes=classes, label_notes=(label_table_note(name, classes),))


def _elements(source: str, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    values = plain(column)
    require_none_missing(source, name, values.null_count)
    return pa.chunked_array([chunk.flatten() for chunk in values.chunks], values.type.value_type)


def _distinct(
    stream: TableStream, name: str, facts: ValueFacts | None, values_of: Callable[[pa.Table], pa.ChunkedArray]
) -> tuple[LabelColumn, list[str]]:
    """Return the labels that a column has, each once, and what was converted. Raises DataInvalid if some are missing."""
    missing = 0
    done: list[str] = []
    parts: list[pa.Array] = []
    for batch in stream.batches([name]):
        kept = kept_column(stream.source, "labels", name, values_of(batch), facts)
        missing += kept.values.null_count
        done += kept.done
        parts.append(pc.unique(kept.values.drop_null()))
        if len(parts) > _MOST_PARTS:
            parts = [pc.unique(pa.concat_arrays(parts))]
    require_none_missing(stream.source, name, missing)
    return LabelColumn(values=pc.unique(pa.concat_arrays(parts)).to_pylist(), note=""), done
