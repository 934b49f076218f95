"""Columns of tables from outside: checked, and converted to arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymu.config.data import Normalization, NormalizeSetting
from raymu.core.arrays import Mask
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
        values = table[name]
        if pa.types.is_dictionary(values.type):  # as pandas writes its categories
            values = values.cast(values.type.value_type)
        return cls(source=source, name=name, values=values)

    def ids_or_names(self) -> pa.ChunkedArray:
        """Return integers or strings, none of them missing."""
        self._require_all()
        if not (pa.types.is_integer(self.values.type) or _is_text(self.values.type)):
            self._refuse(f"ids in column {self.name} are {self.values.type}; they must be integers or strings")
        return self.values

    def ids(self) -> npt.NDArray[Any]:
        """Return ids, all different: (rows,) int64, or str objects."""
        counts = self.ids_or_names().value_counts()
        repeated = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(repeated):
            example = one_line(repr(repeated[0]["values"].as_py()))
            self._refuse(
                f"ids in column {self.name} are not unique: {len(repeated)} occur again, such as {example}; "
                "give each sample an id of its own"
            )
        if pa.types.is_integer(self.values.type):
            return self._integers()
        # A file of ids has one a line: there, space around an id is lost, and an empty id is skipped.
        trimmed = pc.utf8_trim_whitespace(self.values)
        odd = self.values.filter(pc.or_(pc.equal(trimmed, ""), pc.not_equal(trimmed, self.values)))
        if len(odd):
            example = one_line(repr(odd[0].as_py()))
            self._refuse(
                f"ids in column {self.name} are empty, or have space around them, such as {example}; trim them"
            )
        return np.array(self.values.to_pylist(), dtype=object)

    def labels(self, classes: int | None) -> npt.NDArray[np.int64]:
        """Return labels, (rows,) int64, numbered from 0. classes: how many there may be, if that is known"""
        self._require_all()
        if not pa.types.is_integer(self.values.type):
            self._refuse(f"labels in column {self.name} are {self.values.type}; number the classes from 0")
        labels = self._integers()
        if labels.min() < 0:
            self._refuse(f"a label in column {self.name} is {labels.min()}; number the classes from 0")
        if classes is not None and labels.max() >= classes:
            self._refuse(
                f"a label is {labels.max()}, but data.classes is {classes}; mend it, or train with more classes"
            )
        return labels

    def owners(self) -> npt.NDArray[np.object_]:
        """Return owners: (rows,) int, str or None objects."""
        if not (pa.types.is_integer(self.values.type) or _is_text(self.values.type)):
            self._refuse(f"owners in column {self.name} are {self.values.type}; they must be integers or strings")
        return np.array(self.values.to_pylist(), dtype=object)

    def risks(self) -> npt.NDArray[np.float64]:
        """Return probabilities: (rows,) float64 within [0, 1]."""
        self._require_all()
        if not _is_number(self.values.type):
            self._refuse(f"risks in column {self.name} are {self.values.type}; they must be probabilities")
        risks: npt.NDArray[np.float64] = self.values.cast(pa.float64(), safe=False).to_numpy()
        if not ((risks >= 0.0) & (risks <= 1.0)).all():
            self._refuse(f"risks in column {self.name} leave [0, 1]; they must be probabilities")
        return risks

    def features(self) -> npt.NDArray[Any]:
        """Return numbers, or lists or tensors of them: (rows, *shape). None inside of lists becomes NaN."""
        self._require_all()
        values, kind = self.values, self.values.type
        is_tensor = isinstance(kind, pa.FixedShapeTensorType)
        if is_tensor:
            values = pa.chunked_array([chunk.storage for chunk in values.chunks])
        shape: list[int] = []
        while _is_list(values.type):
            lengths = pc.unique(pc.list_value_length(values)).to_pylist()
            if len(lengths) != 1 or not lengths[0]:  # None: an inner list is missing
                self._refuse(
                    f"lists in column {self.name} differ in length or are empty; every sample needs as many features"
                )
            shape += lengths
            values = pa.chunked_array([chunk.flatten() for chunk in values.chunks])
        if not (_is_number(values.type) or pa.types.is_boolean(values.type)):
            self._refuse(f"features in column {self.name} are {kind}; they must be integers, floats or booleans")
        return np.reshape(values.to_numpy(), (len(self.values), *(kind.shape if is_tensor else shape)))

    def _require_all(self) -> None:
        missing = self.values.null_count
        if missing:
            self._refuse(f"column {self.name} lacks {plural(missing, 'value')}; fill them or drop those rows")

    def _integers(self) -> npt.NDArray[np.int64]:
        try:
            integers: npt.NDArray[np.int64] = self.values.cast(pa.int64()).to_numpy()
        except pa.ArrowInvalid:
            self._refuse(f"column {self.name} holds integers beyond 64 bits with a sign; renumber them")
        return integers

    def _refuse(self, problem: str) -> NoReturn:
        raise DataInvalid(self.source, problem)


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
    if features.dtype.kind == "b":
        features = features.astype(np.uint8)
    if features.dtype.kind not in "iuf":
        raise DataInvalid(source, f"features are {features.dtype}; they must be numbers")
    if features.dtype.kind == "f":
        with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, and are refused
            narrow = features.astype(np.float32, copy=False)
        is_bad = ~np.isfinite(narrow)
        if is_bad.any():
            rows = plural(int(is_bad.any(axis=tuple(range(1, features.ndim))).sum()), "row")
            beyond = _beyond_float32(features, is_bad, names)
            raise DataInvalid(source, f"missing, NaN or infinite features in {rows}; mend or drop them{beyond}")
        features = features.astype(np.float64, copy=False) if is_wide and features.itemsize > 4 else narrow
    return features


def _beyond_float32(features: npt.NDArray[Any], is_bad: Mask, names: Sequence[str]) -> str:
    """Return what a message adds about a column that is finite, but beyond the range of float32."""
    columns = np.argwhere((is_bad & np.isfinite(features)).any(axis=0))
    if not len(columns):
        return ""
    index = int(columns[0][0]) if columns.shape[1] else 0
    column = f"column {names[index]}" if index < len(names) else f"feature {index}"
    return f" ({column} has numbers beyond {np.finfo(np.float32).max:.1e}, which models cannot hold: rescale it)"


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


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
