"""Kinds of the columns of a table, and their values: numbers, booleans, dates and categories of any of Arrow's types."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymu.config.tabular import TabularSettings
from raymu.core.arrays import Floats
from raymu.data.arrow_values import is_list, is_text, plain
from raymu.data.scalars import PARTS_OF_SECOND, text_of_bytes
from raymu.errors import DataInvalid
from raymu.text import one_line, plural

_SHOWN = 12
"""Columns that a line names."""
_LARGEST = 1e140
"""Numbers beyond are taken for this one, so that their squares can be added."""
_TRUE, _FALSE = "true", "false"


class KindName(StrEnum):
    """What the values of a column mean."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    CATEGORY = "category"


@dataclass(frozen=True, slots=True)
class ColumnKind:
    """The kind of a column, as a run keeps it: `number`, or `number[3]` for lists of three."""

    name: KindName
    width: int | None = None
    """Numbers in each list or tensor; None for single values."""

    def __str__(self) -> str:
        return self.name if self.width is None else f"{self.name}[{self.width}]"

    @classmethod
    def parse(cls, text: str) -> "ColumnKind":
        """Read what `str` returned."""
        match = re.fullmatch(r"([a-z]+)(?:\[([0-9]+)\])?", text)
        assert match is not None, "a manifest's own text"
        return cls(KindName(match[1]), None if match[2] is None else int(match[2]))


@dataclass(frozen=True, kw_only=True, slots=True)
class KindsOfTable:
    """The kinds of all columns of a training table."""

    kinds: Mapping[str, ColumnKind]
    """In the order of the columns."""
    notes: tuple[str, ...]
    """Lines for people."""


def find_kinds(source: str, table: pa.Table, settings: TabularSettings, *, is_all: bool) -> KindsOfTable:
    """Return the kinds of columns by their types alone: a table with fewer rows has the same.

    Args:
        source: The table, for messages.
        table: The columns, with the types of the file.
        settings: Settings of the task, which may name the kinds of some columns.
        is_all: Whether columns that cannot be read are left out, since nobody named them.

    Raises:
        DataInvalid: A column that was named cannot be read, or none can.
    """
    unknown = [name for name in settings.columns if name not in table.column_names]
    if unknown:
        raise DataInvalid(
            source,
            f"has no feature {one_line(', '.join(unknown))}, which task.columns names; it has "
            f"{one_line(', '.join(table.column_names[:20]))}",
        )
    kinds: dict[str, ColumnKind] = {}
    left_out = []
    for name in table.column_names:
        named = settings.columns[name].kind if name in settings.columns else None
        kind = _kind_of(table[name], None if named is None else KindName(named))
        if kind is not None:
            kinds[name] = kind
        elif is_all and name not in settings.columns:
            left_out.append(f"{one_line(name)} ({one_line(str(table[name].type), longest=40)})")
        else:
            raise DataInvalid(
                source,
                f"column {one_line(name)} is {one_line(str(table[name].type), longest=60)}, which is neither numbers, "
                "booleans, dates nor categories; leave it out of data.features, or give lists of equal length",
            )
    if not kinds:
        raise DataInvalid(source, "has no columns of features; name them in data.features")
    notes = [_line(kinds)]
    if left_out:
        notes.append(f"columns without numbers, dates or categories are left out: {', '.join(left_out)}")
    return KindsOfTable(kinds=kinds, notes=tuple(notes))


def check_columns(source: str, table: pa.Table, kinds: Mapping[str, str], *, refuses_missing: bool = False) -> None:
    """Raise DataInvalid if a column of a table is of another kind than the run's, or lacks values that it must have."""
    for name, text in kinds.items():
        values = read_column(source, name, table[name], ColumnKind.parse(text))
        missing = int(np.isnan(values).any(axis=1).sum() if isinstance(values, np.ndarray) else values.null_count)
        if missing and refuses_missing:
            raise DataInvalid(
                source,
                f"column {one_line(name)} lacks {plural(missing, 'value')}, and task.missing is refuse; fill them, or set "
                "it to impute",
            )


def read_column(source: str, name: str, column: pa.ChunkedArray, kind: ColumnKind) -> Floats | pa.Array:
    """Return the values of a column: (rows, width) float64 with NaN for missing ones, or text of categories with null.

    Raises:
        DataInvalid: The column has values of another kind.
    """
    try:
        values = plain(column)
        if kind.name is KindName.CATEGORY:
            return category_texts(values)
        if kind.width is not None:
            return _lists(values, kind.width)
        return _READERS[kind.name](values)[:, None]
    except (ValueError, pa.ArrowException) as error:
        # Arrow's own text has a value of the table in it.
        reason = "some values are not" if isinstance(error, pa.ArrowException) else one_line(error)
        raise DataInvalid(
            source,
            f"column {one_line(name)} is a {kind}, by the training file or by task.columns: {reason}; mend the values, or "
            "train with another kind in task.columns",
        ) from error


def numbers(values: pa.ChunkedArray) -> Floats:
    """Return numbers as (rows,) float64. Missing ones, NaN and infinite ones are NaN. Raises ValueError."""
    kind = values.type
    if is_text(kind):
        texts = pc.utf8_trim_whitespace(values)
        values = pc.if_else(pc.equal(texts, ""), None, texts)
    elif pa.types.is_duration(kind):
        return _floats(values.cast(pa.int64()).cast(pa.float64(), safe=False)) / PARTS_OF_SECOND[kind.unit]
    elif pa.types.is_time(kind):
        counts = values.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64())
        return _floats(counts.cast(pa.float64(), safe=False)) / PARTS_OF_SECOND[kind.unit]
    elif not (_is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
        raise ValueError(f"it is {kind} here")
    return _floats(values.cast(pa.float64(), safe=False))


def booleans(values: pa.ChunkedArray) -> Floats:
    """Return booleans, 0 and 1, or the texts true and false, as (rows,) float64. Raises ValueError."""
    if is_text(values.type):
        values = pc.utf8_lower(pc.utf8_trim_whitespace(values))
        values = pc.if_else(pc.equal(values, ""), None, values).cast(pa.bool_())
    marks = numbers(values)
    if not (np.isnan(marks) | (marks == 0.0) | (marks == 1.0)).all():
        raise ValueError("it has numbers other than 0 and 1 here")
    return marks


def dates(values: pa.ChunkedArray) -> Floats:
    """Return dates and times as (rows,) float64, seconds since 1970. Raises ValueError."""
    if is_text(values.type):
        texts = pc.utf8_trim_whitespace(values)
        values = pc.if_else(pc.equal(texts, ""), None, texts).cast(pa.timestamp("us"))
    elif pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("ms"))
    elif pa.types.is_null(values.type):
        values = values.cast(pa.timestamp("s"))
    if not pa.types.is_timestamp(values.type):
        raise ValueError(f"it is {values.type} here")
    counts = values.cast(pa.int64()).cast(pa.float64(), safe=False)
    return _floats(counts) / PARTS_OF_SECOND[values.type.unit]


def category_texts(values: pa.ChunkedArray) -> pa.Array:
    """Return categories as text without space around it; blank ones are missing. Whole numbers have one text in all types.

    Raises ValueError.
    """
    kind = values.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        spelled = [None if value is None else text_of_bytes(value) or value.hex() for value in values.to_pylist()]
        return pa.array(spelled, type=pa.large_string())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        present = [None if value is None or value != value else value for value in values.to_pylist()]
        texts = [None if value is None else _number_text(value) for value in present]
        return pa.array(texts, type=pa.large_string())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        values = values.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False).cast(pa.string())
    elif pa.types.is_nested(kind):
        raise ValueError(f"it is {kind} here")
    joined = values.cast(pa.large_string()).combine_chunks()
    if isinstance(joined, pa.ChunkedArray):  # without rows
        joined = pa.array([], type=pa.large_string())
    trimmed = pc.utf8_trim_whitespace(joined)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.large_string()), trimmed)


def _number_text(value: Any) -> str:
    is_whole = value == value // 1 if abs(value) < 2**63 else False
    return str(int(value)) if is_whole else str(value)


def _lists(values: pa.ChunkedArray, width: int) -> Floats:
    """Return lists or tensors of numbers as (rows, width) float64. A missing list is NaN all through."""
    if isinstance(values.type, pa.FixedShapeTensorType):
        values = pa.chunked_array([chunk.storage for chunk in values.chunks], type=values.type.storage_type)
    result = np.full((len(values), width), np.nan)
    is_there = np.asarray(pc.is_valid(values).to_numpy(), dtype=bool)
    present = plain(values.drop_null())
    while is_list(present.type):
        if pc.any(pc.is_null(present)).as_py():
            raise ValueError("a list inside of a list is missing")
        present = plain(pa.chunked_array([chunk.flatten() for chunk in present.chunks], type=_value_type(present.type)))
    flat = numbers(present)
    if len(flat) != int(is_there.sum()) * width:
        raise ValueError(f"its lists have not {plural(width, 'number')} each")
    result[is_there] = flat.reshape(-1, width)
    return result


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type


def _width_of(column: pa.ChunkedArray) -> int | None:
    """Return the count of numbers in each list, by the type or, of lists of any length, by the values."""
    values, width = plain(column), 1
    if isinstance(values.type, pa.FixedShapeTensorType):
        return int(np.prod(values.type.shape))
    while is_list(values.type):
        if pa.types.is_fixed_size_list(values.type):
            length = values.type.list_size
        else:
            lengths = pc.unique(pc.list_value_length(values.drop_null())).to_pylist()
            if len(lengths) != 1:
                return None
            [length] = lengths
        if not length:
            return None
        width *= length
        values = plain(
            pa.chunked_array([chunk.flatten() for chunk in values.drop_null().chunks], type=_value_type(values.type))
        )
    return width if _is_number(values.type) or pa.types.is_boolean(values.type) else None


def _kind_of(column: pa.ChunkedArray, named: KindName | None) -> ColumnKind | None:
    kind = column.type
    if is_list(kind) or isinstance(kind, pa.FixedShapeTensorType):
        width = _width_of(column) if named in (None, KindName.NUMBER) else None
        return None if width is None else ColumnKind(KindName.NUMBER, width)
    if named is not None:
        return ColumnKind(named)
    if pa.types.is_dictionary(kind):
        return ColumnKind(KindName.CATEGORY)
    kind = plain(column).type
    if pa.types.is_null(kind):
        return None
    return next((ColumnKind(name) for fits, name in _KINDS.items() if fits(kind)), None)


def _line(kinds: Mapping[str, ColumnKind]) -> str:
    """Return the line that says which columns are of which kind."""
    nouns = {
        KindName.NUMBER: "numbers",
        KindName.BOOLEAN: "booleans",
        KindName.DATE: "dates",
        KindName.CATEGORY: "categories",
    }
    parts = []
    for name, noun in nouns.items():
        members = [one_line(column, longest=40) for column, kind in kinds.items() if kind.name is name]
        more = f" and {len(members) - _SHOWN} more" if len(members) > _SHOWN else ""
        if members:
            parts.append(f"{noun} {', '.join(members[:_SHOWN])}{more}")
    return f"columns: {'; '.join(parts)}"


def _floats(values: pa.ChunkedArray) -> Floats:
    floats: npt.NDArray[Any] = np.array(values.to_numpy(), dtype=np.float64)
    floats[~np.isfinite(floats)] = np.nan
    return np.clip(floats, -_LARGEST, _LARGEST)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _is_category(kind: pa.DataType) -> bool:
    return is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


_READERS: Mapping[KindName, Callable[[pa.ChunkedArray], Floats]] = {
    KindName.NUMBER: numbers,
    KindName.BOOLEAN: booleans,
    KindName.DATE: dates,
}
_KINDS: Mapping[Callable[[pa.DataType], bool], KindName] = {
    pa.types.is_boolean: KindName.BOOLEAN,
    _is_number: KindName.NUMBER,
    (lambda kind: pa.types.is_date(kind) or pa.types.is_timestamp(kind)): KindName.DATE,
    (lambda kind: pa.types.is_duration(kind) or pa.types.is_time(kind)): KindName.NUMBER,
    _is_category: KindName.CATEGORY,
    pa.types.is_fixed_size_binary: KindName.CATEGORY,
}
