"""Encoders of the columns of a table: fitted to some rows, and applied to others.

How many numbers a column becomes depends on its kind and on the settings, never on the rows.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymu.config.data import Normalization, NormalizeSetting
from raymu.config.tabular import ColumnSettings, TabularSettings
from raymu.core.arrays import Floats
from raymu.data.column_kinds import ColumnKind, KindName, read_column

SOURCE = "the table"
"""How messages call rows that are encoded without a file."""
CLIP_AT = 8.0
"""Standard deviations: a number that hardly varies in the first slice would otherwise dominate all others."""
MISSING, UNSEEN, FIRST = 0, 1, 2
"""Places of a category: of a missing value, of one that the first slice has not, and of the first one that it has."""
_PERIODS_S = {"day": 86_400.0, "week": 7 * 86_400.0, "year": 365.2425 * 86_400.0}
Floats32: TypeAlias = npt.NDArray[np.float32]
Places: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberEncoder:
    """(x - mean) * scale, clipped at 8 standard deviations if it is standardised, with the fill for a missing x."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    fill: tuple[float, ...]
    """What a missing number is taken for."""
    is_clipped: bool
    has_mark: bool
    """Whether one more number says that the value is missing."""
    cycles: tuple[str, ...] = ()
    """Periods of dates, whose sine and cosine are added."""

    @property
    def width(self) -> int:
        """Count of numbers that a value becomes."""
        return len(self.mean) + int(self.has_mark) + 2 * len(self.cycles)

    def apply(self, values: Floats) -> Floats32:
        """Encode numbers, (rows, numbers) float64 with NaN for missing ones. Returns (rows, width)."""
        is_missing = np.isnan(values)
        filled = np.where(is_missing, np.array(self.fill), values)
        limit = CLIP_AT if self.is_clipped else float(np.finfo(np.float32).max)
        parts = [np.clip((filled - np.array(self.mean)) * np.array(self.scale), -limit, limit)]
        if self.has_mark:
            parts.append(is_missing.any(axis=1, keepdims=True).astype(np.float64))
        for cycle in self.cycles:
            angle = filled[:, :1] * (2.0 * math.pi / _PERIODS_S[cycle])
            is_there = ~is_missing[:, :1]
            parts += [np.sin(angle) * is_there, np.cos(angle) * is_there]
        return np.concatenate(parts, axis=1).astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoryEncoder:
    """The place of each value."""

    values: tuple[str | None, ...]
    """Values in the order of their places, from 2. None is a value that is forgotten, whose place stays empty."""
    width: int
    """Count of places, also of those that no value has."""

    def apply(self, texts: pa.Array) -> Places:
        """Return the place of each text, (rows,) int32; null is a missing value."""
        known = [(place, value) for place, value in enumerate(self.values, start=FIRST) if value is not None]
        places = np.full(len(texts), UNSEEN, dtype=np.int32)
        if known:
            value_set = pa.array([value for _, value in known], type=texts.type)
            indices = pc.index_in(texts, value_set=value_set)
            is_known = indices.is_valid().to_numpy(zero_copy_only=False)
            numbers = np.array([place for place, _ in known], dtype=np.int32)
            places[is_known] = numbers[indices.drop_null().to_numpy(zero_copy_only=False)]
        places[texts.is_null().to_numpy(zero_copy_only=False)] = MISSING
        return places


ColumnEncoder: TypeAlias = NumberEncoder | CategoryEncoder
Encoders: TypeAlias = Mapping[str, ColumnEncoder]
"""Column -> its encoder, in the order of the columns."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedRows:
    """Rows as arrays, before categories are spread out over their places."""

    numbers: Floats32
    """(rows, all numbers)."""
    categories: Places
    """(rows, columns of categories)."""


def fit_encoders(
    table: pa.Table, kinds: Mapping[str, str], settings: TabularSettings, normalize: NormalizeSetting
) -> Encoders:
    """Fit an encoder to each column, or take what the settings fix.

    Args:
        table: The rows to fit to.
        kinds: Column -> kind, as the run keeps it.
        settings: Settings of the task.
        normalize: `data.normalize`: `shard` standardises numbers, `none` leaves them, or a fixed mean and deviation.
    """
    encoders: dict[str, ColumnEncoder] = {}
    for name, text in kinds.items():
        kind, column = ColumnKind.parse(text), settings.columns.get(name, ColumnSettings())
        values = read_column(SOURCE, name, table[name], kind)
        if isinstance(values, np.ndarray):
            encoders[name] = _fit_numbers(values, kind, column, settings, normalize)
        else:
            encoders[name] = _fit_category(values, column, settings)
    return encoders


def refit_encoders(
    table: pa.Table,
    kinds: Mapping[str, str],
    settings: TabularSettings,
    normalize: NormalizeSetting,
    before: Encoders,
) -> Encoders:
    """Fit again to the rows that are left, so that values keep their places, and those that are gone are forgotten."""
    refitted: dict[str, ColumnEncoder] = {}
    for name, encoder in fit_encoders(table, kinds, settings, normalize).items():
        former = before[name]
        is_fixed = name in settings.columns and settings.columns[name].values is not None
        if isinstance(former, CategoryEncoder) and not is_fixed:
            texts = read_column(SOURCE, name, table[name], ColumnKind.parse(kinds[name]))
            left = set(pc.unique(texts).to_pylist())
            kept = tuple(value if value in left else None for value in former.values)
            refitted[name] = CategoryEncoder(values=kept, width=former.width)
        else:
            refitted[name] = encoder
    return refitted


def encode(table: pa.Table, kinds: Mapping[str, str], encoders: Encoders) -> EncodedRows:
    """Encode rows. Raises DataInvalid for a column of another kind."""
    numbers, places = [], []
    for name, encoder in encoders.items():
        values = read_column(SOURCE, name, table[name], ColumnKind.parse(kinds[name]))
        if isinstance(encoder, NumberEncoder):
            assert isinstance(values, np.ndarray)
            numbers.append(encoder.apply(values))
        else:
            places.append(encoder.apply(values)[:, None])
    nothing = np.zeros((table.num_rows, 0))
    return EncodedRows(
        numbers=np.concatenate(numbers, axis=1) if numbers else nothing.astype(np.float32),
        categories=np.concatenate(places, axis=1) if places else nothing.astype(np.int32),
    )


def category_widths(kinds: Mapping[str, str], settings: TabularSettings) -> list[int]:
    """Return the count of places of each category, in the order of the columns."""
    categories = [name for name, text in kinds.items() if ColumnKind.parse(text).name is KindName.CATEGORY]
    return [_places(settings.columns.get(name, ColumnSettings()), settings) for name in categories]


def to_json(encoders: Encoders) -> bytes:
    """Return encoders as JSON, in which every number keeps its bits."""
    return json.dumps({name: asdict(encoder) for name, encoder in encoders.items()}, ensure_ascii=False).encode()


def from_json(payload: bytes) -> Encoders:
    """Read what `to_json` returned."""
    encoders: dict[str, ColumnEncoder] = {}
    for name, fields in json.loads(payload).items():
        record: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
        }
        encoders[name] = CategoryEncoder(**record) if "values" in record else NumberEncoder(**record)
    return encoders


def _fit_numbers(
    values: Floats, kind: ColumnKind, column: ColumnSettings, settings: TabularSettings, normalize: NormalizeSetting
) -> NumberEncoder:
    width = values.shape[1]
    mean, deviation = _mean_and_deviation(values)
    fill, is_clipped = mean, True
    if column.mean is not None and column.std is not None:
        fill = mean = np.full(width, column.mean)
        scale = np.full(width, 1.0 / column.std)
    elif kind.name is KindName.BOOLEAN:
        scale = np.ones(width)
    elif isinstance(normalize, Normalization) and kind.name is KindName.NUMBER:
        fill = mean = np.full(width, normalize.mean)
        scale = np.full(width, 1.0 / normalize.std)
    elif normalize == "none":
        mean, scale, is_clipped = np.zeros(width), np.ones(width), False
    else:
        scale = 1.0 / np.where(deviation > 0.0, deviation, 1.0)
    return NumberEncoder(
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        fill=tuple(fill.tolist()),
        is_clipped=is_clipped,
        has_mark=settings.missing == "impute",
        cycles=column.cycles if kind.name is KindName.DATE else (),
    )


def _mean_and_deviation(values: Floats) -> tuple[Floats, Floats]:
    """Return the mean and the standard deviation of the present numbers of each column, 0 where there is none."""
    mean, deviation = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for index in range(values.shape[1]):
        present = values[:, index][~np.isnan(values[:, index])]
        if len(present):
            mean[index], deviation[index] = present.mean(), present.std()
    return mean, deviation


def _places(column: ColumnSettings, settings: TabularSettings) -> int:
    return settings.categories if column.values is None else len(column.values) + FIRST


def _fit_category(texts: pa.Array, column: ColumnSettings, settings: TabularSettings) -> CategoryEncoder:
    if column.values is not None:
        return CategoryEncoder(values=column.values, width=_places(column, settings))
    counts = pc.value_counts(texts.drop_null()).to_pylist()
    ordered = sorted(counts, key=lambda count: (-count["counts"], count["values"]))
    most = [str(count["values"]) for count in ordered[: settings.categories - FIRST]]
    return CategoryEncoder(values=tuple(most), width=settings.categories)
