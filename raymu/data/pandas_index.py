"""The index of a table that pandas wrote: a range of numbers lies in the file's metadata alone, and can be the ids."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

_UNNAMED = "__index_level_"
"""The beginning of the name of a column that holds an index without a name."""


def with_pandas_index(table: pa.Table) -> pa.Table:
    """Return a table with its index as columns, as pandas reads it. Other kinds of index are columns of the file already.

    An index without a name, as each table has by default, is left out.

    Raises:
        ValueError: The index has not as many rows as the table, so that its values belong to other rows.
    """
    for name, numbers in index_ranges(table.schema, table.num_rows).items():
        table = table.add_column(0, pa.field(name, pa.int64()), [numbers_array(numbers)])
    return table


def index_ranges(schema: pa.Schema, rows: int) -> dict[str, range]:
    """Return the indexes that are ranges of numbers, which the metadata alone have: name -> numbers.

    Args:
        schema: The columns of a table, with the metadata of pandas.
        rows: Rows of the whole table.

    Raises:
        ValueError: An index has another number of rows.
    """
    ranges: dict[str, range] = {}
    for level in _levels(schema):
        name = _name(level)
        if not isinstance(level, dict) or name is None or name in schema.names or name in ranges:
            continue
        numbers = range(level["start"], level["stop"], level["step"])
        if len(numbers) != rows:
            raise ValueError(
                f"pandas' index {name} has {len(numbers)} rows, and the table {rows}: it was changed by another "
                "program; write the index as a column"
            )
        ranges[name] = numbers
    return ranges


def has_index_ranges(schema: pa.Schema) -> bool:
    """Return whether an index with a name lies in the metadata alone."""
    return any(isinstance(level, dict) and _name(level) is not None for level in _levels(schema))


def numbers_array(numbers: range) -> pa.Array:
    """Return a range as an array."""
    return pa.array(np.arange(numbers.start, numbers.stop, numbers.step, dtype=np.int64))


def is_unnamed(name: str) -> bool:
    """Return whether a column is an index of pandas that has no name, and is there by default."""
    return name in ("", "Unnamed: 0") or name.startswith(_UNNAMED)


def unread_index(table: pa.Table) -> str | None:
    """Return the name of an index that the metadata names and the table lacks, or of one that is a column without a name."""
    names = [_name(level) for level in _levels(table.schema)]
    lost = [name for name in names if name is not None and name not in table.column_names]
    unnamed = [name for name in table.column_names if name.startswith(_UNNAMED)]
    return next(iter([*lost, *unnamed]), None)


def _levels(schema: pa.Schema) -> Iterator[Any]:
    try:
        metadata = schema.pandas_metadata or {}
        levels = metadata.get("index_columns") or []
    except (ValueError, AttributeError):  # another program's
        return
    for level in levels if isinstance(levels, list) else []:
        if isinstance(level, str) or (
            isinstance(level, dict)
            and level.get("kind") == "range"
            and all(type(level.get(bound)) is int for bound in ("start", "stop", "step"))
            and level["step"] != 0
        ):
            yield level


def _name(level: Any) -> str | None:
    """Return the name of an index's level; None if it has none."""
    name = level if isinstance(level, str) else level.get("name")
    return name if isinstance(name, str) and not name.startswith(_UNNAMED) else None
