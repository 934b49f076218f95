"""The samples of one part of a table, checked and converted without the other parts, and what was found in all parts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymu.config import TargetName
from raymu.core.arrays import Features, Floats, Targets
from raymu.data.arrow_values import is_text, plain
from raymu.data.classes import ClassTable
from raymu.data.column_kinds import ColumnKind, read_column
from raymu.data.columns import Column, bad_features, narrow_features, refuse_features
from raymu.data.rows import Columns, Rows
from raymu.data.table_reading import TableReading
from raymu.data.tables import wide_values
from raymu.data.targets import read_targets
from raymu.data.values import conversion_note, kept_column, require_none_missing
from raymu.errors import DataInvalid
from raymu.text import one_line, plural


class Step(IntEnum):
    """The steps of reading a part, in the order in which their problems are named."""

    IDS = 0
    FEATURES = 1
    OWNERS = 2
    TARGETS = 3
    RISKS = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampleBatch:
    """The samples of one part of a table."""

    ids: pa.Array
    """(samples,) int64 or string."""
    features: Rows
    """(samples, *shape), or columns."""
    labels: Targets
    """(samples,) int64, or (samples, outputs) float32."""
    owners: pa.Array | None
    """(samples,) int64 or string, some of them missing."""
    risks: Floats | None
    """(samples,) within [0, 1]."""


@dataclass(kw_only=True, slots=True, eq=False)
class Findings:
    """What was found in some parts of a table. Those of later parts are added in the order of the rows."""

    rows: int = 0
    missing: dict[tuple[Step, str], int] = field(default_factory=dict)
    """Values that columns lack and have to have."""
    gaps: dict[str, int] = field(default_factory=dict)
    """Values that columns of features lack with `task.missing: refuse`."""
    problems: dict[Step, str] = field(default_factory=dict)
    """The first problem of each step."""
    bad_rows: int = 0
    """Rows with features that are NaN or infinite."""
    beyond: int | None = None
    """The first feature that is finite, and beyond float32."""
    shape: tuple[int, ...] | None = None
    """Shape of one sample's features, if they are arrays."""
    outputs: ClassTable | None = None
    """The classes, as each part has them if the whole table does not decide on them."""
    done: dict[str, list[str]] = field(default_factory=dict)
    """What was converted in ids and owners."""
    feature_notes: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found that makes the table unfit."""
        return not (self.missing or self.gaps or self.problems or self.bad_rows)

    def add(self, later: "Findings", names: tuple[str, ...]) -> None:
        """Add what was found in the rows that come next. names: The columns of features, for messages"""
        if later.shape is not None and self.shape is not None and later.shape != self.shape:
            self.problems.setdefault(Step.FEATURES, different_lengths(names[0]))
        if self.outputs is not None and later.outputs is not None and later.outputs != self.outputs:
            self.problems.setdefault(Step.TARGETS, "lists of targets differ in length; give as many in each row")
        self.rows += later.rows
        for key, count in later.missing.items():
            self.missing[key] = self.missing.get(key, 0) + count
        for name, count in later.gaps.items():
            self.gaps[name] = self.gaps.get(name, 0) + count
        self.problems = later.problems | self.problems
        self.bad_rows += later.bad_rows
        indices = [index for index in (self.beyond, later.beyond) if index is not None]
        self.beyond = min(indices) if indices else None
        self.shape = self.shape if self.shape is not None else later.shape
        self.outputs = self.outputs or later.outputs
        for noun, parts in later.done.items():
            known = self.done.setdefault(noun, [])
            known += [part for part in parts if part not in known]
        self.feature_notes = self.feature_notes or later.feature_notes

    def require_ids(self, source: str) -> None:
        """Raise DataInvalid for what is wrong with ids."""
        self._require(source, Step.IDS)

    def require_sound(self, reading: TableReading) -> None:
        """Raise DataInvalid for what is wrong with the table. The first step comes first, whatever the order of the rows."""
        names = reading.fields.feature_columns
        for step in Step:
            self._require(reading.source, step)
            if step is Step.FEATURES and self.bad_rows:
                of_columns = () if isinstance(reading.fields.features, str) else names
                refuse_features(reading.source, self.bad_rows, self.beyond, of_columns)
            if step is Step.FEATURES:
                for name, count in self.gaps.items():
                    raise DataInvalid(
                        reading.source,
                        f"column {one_line(name)} lacks {plural(count, 'value')}, and task.missing is refuse; fill them, "
                        "or set it to impute",
                    )

    def _require(self, source: str, step: Step) -> None:
        for (other, name), count in self.missing.items():
            if other is step:
                require_none_missing(source, name, count)
        if step in self.problems:
            raise DataInvalid(source, self.problems[step])

    def conversions(self, reading: TableReading) -> tuple[str, ...]:
        """Return what was converted in the table, as lines for people."""
        fields = reading.fields
        columns = {"ids": fields.id, "owners": fields.owner or ""}
        ids, owners = (conversion_note(noun, name, self.done.get(noun, ())) for noun, name in columns.items())
        lines = (*reading.notes, ids, owners, *reading.label_notes, *self.feature_notes, *reading.kind_notes)
        return tuple(line for line in lines if line)


def different_lengths(name: str) -> str:
    """Return the problem of a column whose lists are not of one length."""
    return f"lists in column {name} differ in length or are empty; every sample needs as many features"


def read_batch(reading: TableReading, table: pa.Table) -> tuple[SampleBatch | None, Findings]:
    """Check and convert one part of a table. Nothing depends on the other parts.

    Args:
        reading: How the table is read.
        table: Its rows, with the columns of `reading.columns`.

    Returns:
        The samples, or None if something is wrong with one of them; and what was found.
    """
    part = _Part(reading, table)
    ids = part.step(Step.IDS, part.ids)
    features = part.step(Step.FEATURES, part.features)
    owners = part.step(Step.OWNERS, part.owners) if reading.fields.owner is not None else None
    labels = part.step(Step.TARGETS, part.targets)
    risks = part.step(Step.RISKS, part.risks) if reading.fields.risk is not None else None
    if not part.findings.is_sound:
        return None, part.findings
    return SampleBatch(ids=ids, features=features, labels=labels, owners=owners, risks=risks), part.findings


def read_ids(reading: TableReading, table: pa.Table) -> pa.Array:
    """Return the ids of one part of a table, (rows,) int64 or string. Raises DataInvalid."""
    return _Part(reading, table).ids()


class _Part:
    """One part of a table while it is read."""

    def __init__(self, reading: TableReading, table: pa.Table) -> None:
        self.reading, self.table, self.fields = reading, table, reading.fields
        self.findings = Findings(rows=table.num_rows)

    def step(self, step: Step, read: Callable[[], Any]) -> Any:
        """Take a step, and keep what is wrong."""
        try:
            return read()
        except DataInvalid as error:
            self.findings.problems.setdefault(step, error.problem)
            return None

    def ids(self) -> pa.Array:
        return self._identities("ids", self.fields.id, Step.IDS)

    def owners(self) -> pa.Array:
        assert self.fields.owner is not None
        return self._identities("owners", self.fields.owner, None)

    def _identities(self, noun: str, name: str, required: Step | None) -> pa.Array:
        column = self.table[name]
        if self.reading.is_verbatim and is_text(plain(column).type):
            values = plain(column).cast(pa.string())
        else:
            kept = kept_column(self.reading.source, noun, name, column, self.reading.facts.get(name, None))
            values = kept.values
            self.findings.done[noun] = list(kept.done)
        if required is not None:
            self._count_missing(required, name, values.null_count)
        return _one_array(values)

    def _count_missing(self, step: Step, name: str, count: int) -> None:
        if count:
            self.findings.missing[step, name] = count

    def features(self) -> Rows | None:
        if self.reading.form.columns is not None:
            return self._columns(self.reading.form.columns)
        names = self.fields.feature_columns
        for name in names:
            self._count_missing(Step.FEATURES, name, self.table[name].null_count)
        if any(self.table[name].null_count for name in names):
            return None
        read = [self._column(name).features() for name in names]
        self.findings.feature_notes = tuple(column.note for column in read)
        parts = [column.values for column in read]
        if len({part.shape[1:] for part in parts}) > 1:
            raise DataInvalid(
                self.reading.source,
                f"columns {', '.join(names)} differ in shape; each needs as many numbers as the others",
            )
        is_one = isinstance(self.fields.features, str)
        if is_one and parts[0].ndim == 1:
            raise DataInvalid(
                self.reading.source,
                f"column {names[0]} holds single numbers; list such columns: data.features: [{names[0]}]",
            )
        return self._finite(parts[0] if is_one else np.stack(parts, axis=1))

    def _finite(self, features: npt.NDArray[Any]) -> Features:
        narrow = narrow_features(self.reading.source, features, is_wide=True)
        self.findings.bad_rows, self.findings.beyond = bad_features(features)
        self.findings.shape = narrow.shape[1:]
        return narrow

    def _columns(self, names: tuple[str, ...]) -> Rows:
        reading, tabular = self.reading, self.reading.form.tabular
        rows = Columns.of(pa.table({name: wide_values(self.table[name]) for name in names}))
        if tabular is not None:
            for name, text in reading.form.kinds.items():
                values = read_column(reading.source, name, rows.table[name], ColumnKind.parse(text))
                gaps = int(np.isnan(values).any(axis=1).sum() if isinstance(values, np.ndarray) else values.null_count)
                if gaps and tabular.missing == "refuse":
                    self.findings.gaps[name] = gaps
        return rows

    def targets(self) -> Targets | None:
        reading, names = self.reading, self.fields.label_columns
        if reading.form.target is TargetName.CLASSES:
            assert reading.classes is not None
            kept = kept_column(reading.source, "labels", names[0], self.table[names[0]], reading.facts.get(names[0]))
            return reading.classes.numbers_of(reading.source, names[0], kept.values)
        for name in names:
            self._count_missing(Step.TARGETS, name, plain(self.table[name]).null_count)
        if any(plain(self.table[name]).null_count for name in names):
            return None
        columns = [self._column(name) for name in names]
        read = read_targets(
            reading.source, columns, reading.form.target, configured=self.fields.classes, classes=reading.classes
        )
        self.findings.outputs = read.classes
        return read.values

    def risks(self) -> Floats | None:
        assert self.fields.risk is not None
        column = self._column(self.fields.risk)
        self._count_missing(Step.RISKS, self.fields.risk, column.values.null_count)
        return None if column.values.null_count else column.risks()

    def _column(self, name: str) -> Column:
        return Column.of(self.reading.source, self.table, name)


def _one_array(values: pa.ChunkedArray) -> pa.Array:
    return values.chunk(0) if values.num_chunks == 1 else pa.concat_arrays(values.chunks)
