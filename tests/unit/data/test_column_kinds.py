"""Kinds of columns, by their types, and values of any type that fits."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymu.config.tabular import TabularSettings
from raymu.data.column_kinds import ColumnKind, check_columns, find_kinds, read_column
from raymu.errors import DataInvalid

COLUMNS: dict[str, tuple[pa.Array, str]] = {
    "uint64": (pa.array([2**64 - 1], pa.uint64()), "number"),
    "float16": (pa.array(np.array([1], np.float16)), "number"),
    "decimal": (pa.array([Decimal("1.50")]), "number"),
    "duration": (pa.array([timedelta(seconds=5)]), "number"),
    "time": (pa.array([3600], pa.time32("s")), "number"),
    "bool": (pa.array([True]), "boolean"),
    "date": (pa.array([date(2020, 1, 1)]), "date"),
    "zoned": (pa.array([0], pa.timestamp("ns", tz="Europe/Berlin")), "date"),
    "large_string": (pa.array(["a"], pa.large_string()), "category"),
    "string_view": (pa.array(["a"], pa.string_view()), "category"),
    "dictionary": (pa.array(["a"]).dictionary_encode(), "category"),
    "number_dictionary": (pa.array([7]).dictionary_encode(), "category"),
    "uuid": (pa.array([b"0123456789abcdef"], pa.uuid()), "category"),
    "bytes": (pa.array([b"abc"]), "category"),
    "list": (pa.array([[1, 2, 3]]), "number[3]"),
    "nested": (pa.array([[[1, 2], [3, 4]]]), "number[4]"),
    "large_list": (pa.array([[1.0, 2.0]], pa.large_list(pa.float32())), "number[2]"),
    "tensor": (
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int8(), (2, 1)), pa.array([[1, 2]], pa.list_(pa.int8(), 2))
        ),
        "number[2]",
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_of_arrow_has_a_kind_and_is_read(name: str) -> None:
    column, kind = COLUMNS[name]
    table = pa.table({name: pa.chunked_array([column, column])})
    table_kinds = find_kinds("t", table, TabularSettings(), is_all=True)
    assert str(table_kinds.kinds[name]) == kind
    assert ColumnKind.parse(kind) == table_kinds.kinds[name]
    values = read_column("t", name, table[name], table_kinds.kinds[name])
    assert len(values) == 2
    if isinstance(values, np.ndarray):
        assert not np.isnan(values).any()


@pytest.mark.parametrize("kind", ["number", "boolean", "date", "category"])
@pytest.mark.parametrize("values", [pa.nulls(2), pa.array(["", None]), pa.array([], pa.string())])
def test_missing_values_of_any_type_fit_every_kind(kind: str, values: pa.Array) -> None:
    check_columns("t", pa.table({"a": values}), {"a": kind})


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("number", ["12 apples"]),
        ("number", [[1.0]]),
        ("boolean", [2]),
        ("boolean", ["maybe"]),
        ("date", [5]),
        ("date", ["tomorrow"]),
        ("category", [{"a": 1}]),
        ("number[2]", [[1.0, 2.0, 3.0]]),
        ("number[2]", [1.0]),
    ],
)
def test_values_of_another_kind_are_refused_in_one_line(kind: str, values: list[Any]) -> None:
    with pytest.raises(DataInvalid, match=r"^file: column a is a .*; mend the values, or train with another") as caught:
        check_columns("file", pa.table({"a": values}), {"a": kind})
    assert "\n" not in str(caught.value)
    assert "tomorrow" not in str(caught.value), "a value of the table may be somebody's"


@pytest.mark.parametrize(
    "values", [pa.array([7, 8]), pa.array([7.0, 8.0]), pa.array(["7", "8 "]), pa.array(["7", "8"])]
)
def test_a_whole_number_is_one_category_in_every_type(values: pa.Array) -> None:
    texts = read_column("t", "a", pa.chunked_array([values]), ColumnKind.parse("category"))
    assert pa.array(texts).to_pylist() == ["7", "8"]


def test_columns_that_nobody_named_are_left_out_with_a_line_and_named_ones_refused() -> None:
    table = pa.table({"a": [1.5], "b": [{"x": 1}], "c": pa.nulls(1)})
    table_kinds = find_kinds("t", table, TabularSettings(), is_all=True)
    assert list(table_kinds.kinds) == ["a"]
    assert table_kinds.notes[1].startswith("columns without numbers, dates or categories are left out: b (struct")
    with pytest.raises(DataInvalid, match=r"column b is struct.*leave it out of data.features"):
        find_kinds("t", table, TabularSettings(), is_all=False)


def test_missing_values_are_refused_if_the_settings_say_so() -> None:
    with pytest.raises(DataInvalid, match=r"column a lacks 1 value, and task.missing is refuse"):
        check_columns("t", pa.table({"a": [1.0, None]}), {"a": "number"}, refuses_missing=True)
