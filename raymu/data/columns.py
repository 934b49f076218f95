"""Columns of tables from outside: checked, and converted to arrays."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymu.config.data import Normalization, NormalizeSetting
from raymu.data.arrow_buffers import to_numpy_with_missing
from raymu.data.arrow_values import is_list, is_text, plain
from raymu.data.scalars import PARTS_OF_SECOND
from raymu.data.spellings import canonical_key
from raymu.data.values import IdColumn, IdKind, LabelColumn, labels, owners, require_none_missing, sample_ids
from raymu.errors import DataInvalid
from raymu.text import one_line, plural


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Column:
    """One column. Every method that reads it raises DataInvalid if a value does not fit; the message names the column."""

    source: str
    name: str
    values: pa.ChunkedArray

    @classmethod
    def of(cls, source: str, table: pa.Table, name: str) -> "Column":
        """Take a column, which must be there once, from a table."""
        return cls(source=source, name=name, values=table[name])

    def ids(self, *, is_verbatim: bool = False) -> IdColumn:
        """Return ids, all different. is_verbatim: True keeps text as it is, as version 0.1 did"""
        ids = self._verbatim(IdKind.TEXT) if is_verbatim and is_text(plain(self.values).type) else None
        ids = ids or sample_ids(self.source, self.name, self.values)
        self._require_distinct(ids.values)
        return ids

    def labels(self) -> LabelColumn:
        """Return labels, of which some may be missing."""
        return labels(self.source, self.name, self.values)

    def owners(self, *, is_verbatim: bool = False) -> IdColumn:
        """Return owners, of whom some may be missing. is_verbatim: as for `ids`"""
        if is_verbatim and is_text(plain(self.values).type):
            return self._verbatim(IdKind.TEXT)
        return owners(self.source, self.name, self.values)

    def _verbatim(self, kind: IdKind) -> IdColumn:
        return IdColumn(values=np.array(plain(self.values).to_pylist(), dtype=object), kind=kind, note="")

    def _require_distinct(self, ids: npt.NDArray[Any]) -> None:
        keys = ids if ids.dtype.kind == "i" else np.array([canonical_key(sample_id) for sample_id in ids], dtype=object)
        counts = Counter(keys.tolist())
        if len(counts) == len(ids):
            return
        repeated = [key for key, count in counts.items() if count > 1]
        shown = one_line(repr(repeated[0]))
        self._refuse(
            f"ids in column {self.name} are not unique: {len(repeated)} occur again, such as {shown}; "
            "give each sample an id of its own"
        )

    def risks(self) -> npt.NDArray[np.float64]:
        """Return probabilities: (rows,) float64 within [0, 1]."""
        self._require_all()
        values = plain(self.values)
        if not (_is_number(values.type) or pa.types.is_decimal(values.type)):
            self._refuse(f"risks in column {self.name} are {self._kind}; they must be probabilities")
        risks: npt.NDArray[np.float64] = values.cast(pa.float64(), safe=False).to_numpy()
        if not ((risks >= 0.0) & (risks <= 1.0)).all():
            self._refuse(f"risks in column {self.name} leave [0, 1]; they must be probabilities")
        return risks

    def features(self) -> "FeatureColumn":
        """Return numbers, or lists or tensors of them: (rows, *shape). None inside of lists becomes NaN."""
        self._require_all()
        values, note = plain(self.values), ""
        kind = values.type
        is_tensor = isinstance(kind, pa.FixedShapeTensorType)
        if is_tensor:
            values = pa.chunked_array([chunk.storage for chunk in values.chunks])
        shape: list[int] = []
        while is_list(values.type):
            lengths = _lengths(values)
            if len(lengths) != 1 or not lengths[0]:  # None: an inner list is missing
                self._refuse(
                    f"lists in column {self.name} differ in length or are empty; every sample needs as many features"
                )
            shape += [length for length in lengths if length]
            values = plain(pa.chunked_array([chunk.flatten() for chunk in values.chunks]))
        if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
            values, note = (
                _seconds(values),
                f"features in column {one_line(self.name)}: {values.type} became seconds since 1970",
            )
        elif pa.types.is_decimal(values.type):
            note = f"features in column {one_line(self.name)}: {values.type} became floats"
            values = values.cast(pa.float64(), safe=False)
        elif pa.types.is_null(values.type):  # of a table without rows
            values = values.cast(pa.float64())
        if not (_is_number(values.type) or pa.types.is_boolean(values.type)):
            self._refuse(self._not_numbers(values.type))
        rows = (len(self.values), *(kind.shape if is_tensor else shape))
        return FeatureColumn(values=np.reshape(to_numpy_with_missing(values), rows), note=note)

    @property
    def _kind(self) -> str:
        return one_line(str(self.values.type))

    def _not_numbers(self, kind: pa.DataType) -> str:
        problem = f"features in column {self.name} are {self._kind}; they must be integers, floats or booleans"
        return f"{problem}: number its values, or leave the column out of data.features" if is_text(kind) else problem

    def _require_all(self) -> None:
        require_none_missing(self.source, self.name, self.values.null_count)

    def _refuse(self, problem: str) -> NoReturn:
        raise DataInvalid(self.source, problem)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureColumn:
    """Features of one column."""

    values: npt.NDArray[Any]
    """(rows, *shape)."""
    note: str
    """What was converted, for people; empty if nothing was."""


def _seconds(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert points in time to seconds since 1970: float64, exact to a microsecond for some centuries."""
    kind = values.type
    if pa.types.is_date(kind):
        values = values.cast(pa.timestamp("s"))
    parts = float(PARTS_OF_SECOND[values.type.unit])
    return pc.divide(values.cast(pa.int64()).cast(pa.float64(), safe=False), parts)


def _lengths(values: pa.ChunkedArray) -> list[int | None]:
    if pa.types.is_fixed_size_list(values.type) and not len(values):  # a table without rows has a shape all the same
        return [values.type.list_size]
    lengths: list[int | None] = pc.unique(pc.list_value_length(values)).to_pylist()
    return lengths


def as_features(
    source: str, features: npt.NDArray[Any], names: Sequence[str] = (), *, is_wide: bool = False
) -> npt.NDArray[Any]:
    """Convert features to what models take: integers stay, booleans become bytes, floats become float32.

    Args:
        source: For messages.
        features: (samples, *shape).
        names: The columns, if each is one feature.
        is_wide: True lets float64 stay, for features that a run may standardise in it.

    Raises:
        DataInvalid: A feature is missing, NaN or infinite, beyond the range of float32, or not a number.
    """
    bad_rows, beyond = bad_features(features)
    narrow = narrow_features(source, features, is_wide=is_wide)
    if bad_rows:
        refuse_features(source, bad_rows, beyond, names)
    return narrow


def narrow_features(source: str, features: npt.NDArray[Any], *, is_wide: bool) -> npt.NDArray[Any]:
    """Convert features as `as_features` does, without a look at their values. Raises DataInvalid if they are no numbers."""
    if features.dtype.kind == "b":
        return features.astype(np.uint8)
    if features.dtype.kind not in "iuf":
        raise DataInvalid(source, f"features are {features.dtype}; they must be numbers")
    if features.dtype.kind == "f":
        kept = np.float64 if is_wide and features.itemsize > 4 else np.float32
        with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, and are refused
            return features.astype(kept, copy=False)
    return features


def bad_features(features: npt.NDArray[Any]) -> tuple[int, int | None]:
    """Count the rows with features that no model takes: missing, NaN, infinite or beyond float32.

    Args:
        features: (samples, *shape).

    Returns:
        Their number, and the index of the first feature that is finite and beyond float32 in some row.
    """
    if features.dtype.kind != "f":
        return 0, None
    with np.errstate(over="ignore", invalid="ignore"):  # a NaN that signals, from bytes that no float32 wrote
        narrow = features.astype(np.float32, copy=False)
    is_good = np.isfinite(narrow)
    if is_good.all():
        return 0, None
    is_bad = ~is_good
    columns = np.argwhere((is_bad & np.isfinite(features)).any(axis=0))
    beyond = None if not len(columns) else int(columns[0][0]) if columns.shape[1] else 0
    return int(is_bad.any(axis=tuple(range(1, features.ndim))).sum()), beyond


def refuse_features(source: str, bad_rows: int, beyond: int | None, names: Sequence[str]) -> NoReturn:
    """Raise DataInvalid for rows that `bad_features` counted. names: The columns, if each is one feature"""
    more = ""
    if beyond is not None:
        column = f"column {names[beyond]}" if beyond < len(names) else f"feature {beyond}"
        more = f" ({column} has numbers beyond {np.finfo(np.float32).max:.1e}, which models cannot hold: rescale it)"
    raise DataInvalid(
        source, f"missing, NaN or infinite features in {plural(bad_rows, 'row')}; mend or drop them{more}"
    )


def kept_features(features: npt.NDArray[Any], normalize: NormalizeSetting) -> npt.NDArray[Any]:
    """Convert features to what a run keeps of them, by their type and by the settings alone.

    Features that are standardised keep float64, since in float32 a small variation beside a large offset is lost: seconds
    since 1970 would be rounded to 128 s. Integers of 32 bits or more become float64 for the same reason. Version 0.1 kept
    float32 and such integers, and a run that has them is trained as it was.

    Args:
        features: (samples, *shape), as `as_features` returns them.
        normalize: `data.normalize`.
    """
    is_standardized = normalize == "shard" or isinstance(normalize, Normalization)
    if is_standardized and features.dtype.itemsize >= 4 and features.dtype != np.float32:
        return features.astype(np.float64, copy=False)
    return features_of_first_version(features)


def features_of_first_version(features: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert features to what a run of version 0.1 kept of them: floats became float32."""
    return features.astype(np.float32) if features.dtype == np.float64 else features


def as_kept(features: npt.NDArray[Any], kept: np.dtype[Any]) -> npt.NDArray[Any]:
    """Convert features of a file to the type of those that a run keeps, if one could have been made from the other."""
    if kept == np.float64 and features.dtype.itemsize >= 4:
        return features.astype(np.float64, copy=False)
    return features_of_first_version(features)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)
