"""The classes of a run: numbers from 0, or a table of the labels that its training file has."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymu.core.arrays import Labels
from raymu.data.arrow_buffers import to_numpy
from raymu.data.values import LabelColumn, LabelValue, require_none_missing
from raymu.errors import DataInvalid
from raymu.text import one_line, plural

_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
_SHOWN = 8
"""Classes that a message names."""


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """The classes that a run tells apart, in the order of its model's outputs."""

    count: int
    """Number of classes."""
    names: tuple[LabelValue, ...] | None = None
    """The label of each class; None if labels are the numbers from 0 to count - 1."""

    def numbers(self, source: str, column: str, labels: LabelColumn) -> Labels:
        """Return the class of each label: (rows,) int64, from 0.

        Labels are found in other forms too: 1 is also "1", and False is 0.

        Args:
            source: The table, for messages.
            column: The column, for messages.
            labels: The labels.

        Raises:
            DataInvalid: A label is missing, or no class of the run.
        """
        require_none_missing(source, column, labels.values.count(None))
        find = self._find if all(self._find(label) is not None for label in set(labels.values)) else self._find_text
        unknown = next((label for label in labels.values if find(label) is None), None)
        highest = max((label for label in labels.values if type(label) is int), default=0)
        if self.names is None and highest >= self.count:
            raise DataInvalid(
                source, f"a label is {highest}, but data.classes is {self.count}; mend it, or train with more classes"
            )
        if unknown is not None:
            raise DataInvalid(
                source, f"a label in column {one_line(column)} is {_shown(unknown)}, {self._not_a_class()}"
            )
        return np.array([find(label) for label in labels.values], dtype=np.int64)

    def numbers_of(self, source: str, column: str, labels: pa.ChunkedArray) -> Labels:
        """Return the class of each label of an Arrow column, int64, text or bool, as `numbers` does of a list."""
        distinct = pc.unique(labels)
        numbers = self.numbers(source, column, LabelColumn(values=distinct.to_pylist(), note=""))
        if pa.types.is_integer(labels.type) and self.names is None:
            return np.array(to_numpy(labels), dtype=np.int64)
        places = to_numpy(pc.index_in(labels, value_set=distinct))
        classes: Labels = numbers[places]
        return classes

    def label(self, number: int) -> LabelValue:
        """Return the label of a class."""
        return number if self.names is None else self.names[number]

    def note(self, column: str) -> str:
        """Return the line that says how labels became numbers, for people; empty if they are."""
        if self.names is None:
            return ""
        pairs = [f"{number} is {_shown(name)}" for number, name in enumerate(self.names[:_SHOWN])]
        more = f", and so on to {self.count - 1}" if self.count > _SHOWN else ""
        return f"labels in column {one_line(column)}: class {', '.join(pairs)}{more}"

    def _find(self, label: Any) -> int | None:
        if self.names is not None:
            return self._positions.get(label)
        return int(label) if isinstance(label, int) and 0 <= label < self.count else None

    def _find_text(self, label: Any) -> int | None:
        """Find a label by its text, for tables of another type than that of the training file."""
        if self.names is not None:
            return self._text_positions.get(_text(label))
        return self._find(int(label)) if _NUMBER.fullmatch(str(label)) else None

    @cached_property
    def _positions(self) -> Mapping[Any, int]:
        return {name: number for number, name in enumerate(self.names or ())}

    @cached_property
    def _text_positions(self) -> Mapping[str, int]:
        return {_text(name): number for number, name in enumerate(self.names or ())}

    def _not_a_class(self) -> str:
        if self.names is None:
            return f"but the run's classes are the numbers 0 to {self.count - 1}; mend it or drop those rows"
        shown = ", ".join(_shown(name) for name in self.names[:_SHOWN]) + (", ..." if self.count > _SHOWN else "")
        return f"which is not a class of the run ({shown}); mend it or drop those rows"


def fit_classes(source: str, column: str, labels: LabelColumn, configured: int | None) -> ClassTable:
    """Return the classes of a training file, excluded samples included.

    Integers of which the lowest is 0 are numbers of classes, also of some without samples, as are integers below a
    configured number of classes. Other labels get a table of their values in order: False before True, numbers by size,
    text by its letters' code points.

    Args:
        source: The table, for messages.
        column: The column, for messages.
        labels: The labels of all samples.
        configured: `data.classes`.

    Raises:
        DataInvalid: A label is missing, or `configured` does not fit the labels.
    """
    require_none_missing(source, column, labels.values.count(None))
    values = {label for label in labels.values if label is not None}
    names: tuple[LabelValue, ...] = tuple(sorted(values))  # of one type, as columns are
    are_numbers = all(isinstance(name, int) and not isinstance(name, bool) for name in names)
    if configured is not None:
        if are_numbers and all(0 <= int(name) < configured for name in names):
            return ClassTable(count=configured)
        if are_numbers and names[0] == 0:
            raise DataInvalid(
                source,
                f"a label is {names[-1]}, but data.classes is {configured}; mend it, or train with more classes, or leave "
                "data.classes out",
            )
        if len(names) != configured:
            raise DataInvalid(
                source,
                f"column {one_line(column)} has {plural(len(names), 'label')}, but data.classes is {configured}; leave "
                "data.classes out",
            )
    elif are_numbers and names[0] == 0:
        return ClassTable(count=max(2, int(names[-1]) + 1))
    return ClassTable(count=max(2, len(names)), names=names)


def _shown(label: Any) -> str:
    return one_line(repr(label), longest=40)


def _text(label: Any) -> str:
    return str(label).lower() if isinstance(label, bool) or label in ("True", "False") else str(label)
