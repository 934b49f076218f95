"""Samples to predict or to evaluate, read part after part: a table of any length takes the memory of one part."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa

from raymu.config import DataConfig, TargetName
from raymu.core.arrays import Targets
from raymu.data.classes import ClassTable
from raymu.data.columns import Column
from raymu.data.frames import TableData
from raymu.data.rows import Rows
from raymu.data.sample_form import SampleForm
from raymu.data.table_reading import facts_of, require_columns, require_rows
from raymu.data.table_stream import TableStream, open_stream
from raymu.data.tables import feature_rows
from raymu.data.targets import read_targets
from raymu.data.values import ValueFacts, kept_column, require_none_missing
from raymu.errors import DataInvalid

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RowPart:
    """Consecutive samples of a table."""

    start: int
    """Rows of the table before them."""
    features: Rows
    """(samples, *shape), or columns."""
    ids: pa.ChunkedArray | None
    """(samples,) int64 or string; None if the table has no ids."""
    labels: Targets | None
    """(samples,) int64, or (samples, outputs) float32; None if they are not read, or the table has none."""

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RowStream:
    """The samples of a table."""

    data: TableData
    """The table, as for `open_rows`."""
    stream: TableStream
    fields: DataConfig
    form: SampleForm
    input_shape: tuple[int, ...]
    """Shape of one sample, if it is an array."""
    classes: ClassTable | None
    """The classes of the run, if labels are read."""
    facts: Mapping[str, ValueFacts]
    """Column -> its facts, for ids and labels that are kept in a form which depends on all values."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(self.stream.schema.names)

    @property
    def has_labels(self) -> bool:
        """Whether labels are read."""
        return self.classes is not None and all(name in self.names for name in self.fields.label_columns)

    def count(self) -> int:
        """Return the rows of the table. Files that do not say it are read for it. Raises DataInvalid."""
        if self.stream.rows is not None:
            return self.stream.rows
        return sum(batch.num_rows for batch in self.stream.batches(self.names[:1]))

    def parts(self, unit: int, *, most: int, start: int = 0, stop: int | None = None) -> Generator[RowPart]:
        """Yield the samples in their order; of a table without rows, one part without samples.

        Args:
            unit: Each part begins at a multiple of so many rows.
            most: Most rows of a part, a multiple of `unit`.
            start: The first row, a multiple of `unit`.
            stop: The row after the last one. The default is the end of the table.

        Raises:
            DataInvalid: A file cannot be read, or a row does not fit, which the message names.
        """
        done = start
        tables = _until(self.stream.batches(self.names, skip=start), None if stop is None else stop - start)
        for table in _aligned(tables, unit, most):
            yield self._converted(table, done)
            done += table.num_rows
        if not done:
            yield self._convert(self.stream.schema.empty_table(), 0)

    def _converted(self, table: pa.Table, start: int) -> RowPart:
        return naming_row(lambda rows: self._convert(table.slice(0, rows), start), rows=table.num_rows, start=start)

    def _convert(self, table: pa.Table, start: int) -> RowPart:
        source, fields = self.stream.source, self.fields
        columns = {name: Column.of(source, table, name) for name in table.column_names}
        if not table.num_rows and self.form.columns is None:
            features: Rows = np.zeros((0, *self.input_shape), dtype=np.float32)
        else:
            features, _ = feature_rows(source, fields, columns, self.form, is_wide=True)
        return RowPart(
            start=start,
            features=features,
            ids=self._kept("ids", columns[fields.id]) if fields.id in columns else None,
            labels=self._targets(columns) if self.has_labels else None,
        )

    def _kept(self, noun: str, column: Column) -> pa.ChunkedArray:
        kept = kept_column(column.source, noun, column.name, column.values, self.facts.get(column.name)).values
        require_none_missing(column.source, column.name, kept.null_count)
        return kept

    def _targets(self, columns: Mapping[str, Column]) -> Targets:
        read = [columns[name] for name in self.fields.label_columns]
        source, classes = self.stream.source, self.classes
        if self.form.target is TargetName.CLASSES and classes is not None:
            return classes.numbers_of(source, read[0].name, self._kept("labels", read[0]))
        targets = read_targets(source, read, self.form.target, configured=self.fields.classes, classes=classes)
        return targets.values


def open_rows(
    data: TableData,
    fields: DataConfig,
    form: SampleForm,
    *,
    input_shape: tuple[int, ...],
    classes: ClassTable | None = None,
) -> RowStream:
    """Open a table of samples, with its ids if it has any.

    Args:
        data: Local paths or URIs of files, of directories of them, or patterns; or a table in memory.
        fields: Names of the columns.
        form: The form of the samples.
        input_shape: Shape of one sample, if it is an array.
        classes: The classes of the run, to read labels too, as far as the table has them. The default reads none.

    Raises:
        DataInvalid: A file cannot be read, or has no rows although labels are read, or a column is missing.
    """
    features = form.columns or fields.feature_columns
    identities = (fields.id, *(fields.label_columns if classes else ()))
    stream = open_stream(data, list(dict.fromkeys((*features, *identities))))
    if classes is not None:
        require_rows(stream)
    require_columns(stream, features)
    kept = [name for name in identities if name in stream.names]
    return RowStream(
        data=data,
        stream=stream,
        fields=fields,
        form=form,
        input_shape=input_shape,
        classes=classes,
        facts=facts_of(stream, kept),
    )


def naming_row(read: Callable[[int], Answer], *, rows: int, start: int) -> Answer:
    """Read the rows of a part, and name the first one that is refused.

    Args:
        read: Reads so many first rows of the part.
        rows: Rows of the part.
        start: Rows of the table before the part.

    Raises:
        DataInvalid: A row does not fit, or no row does.
    """
    try:
        return read(rows)
    except DataInvalid as error:
        problem = error
    if not _is_sound(read, 0):  # it is one of the columns, whatever the rows are
        raise problem
    fitting, refused = 0, rows
    while refused - fitting > 1:
        middle = (fitting + refused) // 2
        fitting, refused = (middle, refused) if _is_sound(read, middle) else (fitting, middle)
    if start + refused == 1:  # which all rows may be like
        raise problem
    raise DataInvalid(problem.source, f"{problem.problem}; the first is row {start + refused:,}") from problem


def _is_sound(read: Callable[[int], object], rows: int) -> bool:
    try:
        read(rows)
    except DataInvalid:
        return False
    return True


def _until(tables: Iterator[pa.Table], rows: int | None) -> Iterator[pa.Table]:
    """Yield the first rows."""
    for table in tables:
        yield table if rows is None else table.slice(0, rows)
        if rows is not None:
            rows -= table.num_rows
            if rows <= 0:
                return


def _aligned(tables: Iterator[pa.Table], unit: int, most: int) -> Iterator[pa.Table]:
    """Cut tables again, so that each begins at a multiple of `unit` rows."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        if rows < unit:
            continue
        whole = pa.concat_tables(waiting)
        start = 0
        while rows - start >= unit:
            length = min(most, (rows - start) // unit * unit)
            yield whole.slice(start, length)
            start += length
        waiting, rows = [whole.slice(start)] if rows > start else [], rows - start
    if rows:
        yield pa.concat_tables(waiting)
