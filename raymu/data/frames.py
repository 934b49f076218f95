"""Tables in memory that a user passes: of pandas, polars, Arrow, DuckDB, Hugging Face datasets, or plain columns.

None of these libraries is imported. A table is recognised by what it can do, above all by Arrow's C stream interface.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from raymu.core.uri import redacted
from raymu.errors import DataInvalid
from raymu.text import one_line

TableData: TypeAlias = str | pa.Table
"""Paths, URIs or patterns of files, as a setting has them; or a table in memory."""
IN_MEMORY = "the table"
"""How messages call a table in memory."""


def source_of(data: TableData) -> str:
    """Return how messages call a table."""
    return redacted(data) if isinstance(data, str) else IN_MEMORY


def is_frame(value: object) -> bool:
    """Return whether a value is a table in memory, and not an array or a path."""
    return _reader_of(value) is not None


def to_table(frame: object) -> pa.Table:
    """Convert a table in memory to Arrow's.

    Args:
        frame: A DataFrame of pandas or polars, anything of Arrow's, a relation of DuckDB, a split of Hugging Face datasets,
            anything else with Arrow's C stream interface, or a mapping of column names to values.

    Raises:
        DataInvalid: It is none of these, or Arrow has no type for a column.
    """
    if isinstance(frame, Mapping) and frame and all(is_frame(part) for part in frame.values()):
        splits = ", ".join(str(name) for name in list(frame)[:5])
        raise DataInvalid(IN_MEMORY, f"is several tables ({one_line(splits)}); give one of them")
    read = _reader_of(frame)
    if read is None:
        raise DataInvalid(
            IN_MEMORY,
            f"is {type(frame).__module__}.{type(frame).__qualname__}; give a DataFrame, an Arrow table or a path of a file",
        )
    try:
        table = read(frame)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise DataInvalid(
            IN_MEMORY, f"cannot be read as Arrow's ({one_line(error)}); give each column values of one type"
        ) from error
    if not isinstance(table, pa.Table):
        raise DataInvalid(IN_MEMORY, f"gives {type(table).__qualname__} in place of an Arrow table; convert it first")
    return table


def _reader_of(value: object) -> Callable[[Any], Any] | None:
    if isinstance(value, str | bytes):
        return None
    return next((read for fits, read in _READERS if fits(value)), None)


def _of_split(split: Any) -> pa.Table:
    """Return a split of Hugging Face datasets in the order of its rows, with names in place of numbers of classes."""
    table: pa.Table = split.with_format("arrow")[:]
    for name, feature in dict(split.features).items():
        names = getattr(feature, "names", None)
        if isinstance(names, list) and pa.types.is_integer(table.schema.field(name).type):
            numbers = table[name].combine_chunks().cast(pa.int32())
            numbers = pc.if_else(pc.less(numbers, 0), None, numbers)  # -1 is a missing label
            index = table.column_names.index(name)
            table = table.set_column(index, name, pa.DictionaryArray.from_arrays(numbers, pa.array(names)))
    return table


def _has(*names: str) -> Callable[[object], bool]:
    return lambda value: all(hasattr(value, name) for name in names)


def _is_columns(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(name, str) for name in value)


def _is_rows(value: object) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(row, Mapping) for row in value)


_READERS: Sequence[tuple[Callable[[object], bool], Callable[[Any], Any]]] = (
    (lambda value: isinstance(value, pa.Table), lambda table: table),
    (
        _has("with_format", "features", "num_rows"),
        _of_split,
    ),
    (_has("collect", "collect_schema"), lambda lazy: lazy.collect().to_arrow()),  # of polars
    (_has("__arrow_c_stream__"), lambda frame: pa.RecordBatchReader.from_stream(frame).read_all()),
    (_has("__arrow_c_array__"), lambda batch: pa.Table.from_batches([pa.record_batch(batch)])),
    (_has("to_arrow_table"), lambda relation: relation.to_arrow_table()),
    (_has("to_table"), lambda dataset: dataset.to_table()),  # of Arrow's datasets
    (_has("to_arrow"), lambda frame: frame.to_arrow()),
    (_has("toArrow"), lambda frame: frame.toArrow()),  # of Spark
    (_has("iloc", "columns"), pa.Table.from_pandas),  # of older versions of pandas
    (_is_columns, pa.table),
    (_is_rows, pa.Table.from_pylist),
)
"""What tells that a value can be read, and how."""
