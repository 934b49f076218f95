"""Tables in memory of any library, and what is no table."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest

from raymu.data.frames import is_frame, to_table
from raymu.data.tables import read_table
from raymu.errors import DataInvalid
from tests.support.shard_training import make_fields

ARROW = pa.table({"id": [3, 1], "label": [0, 1], "features": [[0.0, 1.0], [2.0, 3.0]]})


class OnlyStream:
    """What any library with Arrow's C stream interface gives."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return ARROW.__arrow_c_stream__(requested_schema)


class Split:
    """A split of Hugging Face datasets, whose rows have an order of their own."""

    features: ClassVar[dict[str, Any]] = dict.fromkeys(ARROW.column_names)
    num_rows = ARROW.num_rows

    def with_format(self, kind: str) -> Any:
        assert kind == "arrow"
        return self

    def __getitem__(self, rows: slice) -> pa.Table:
        return ARROW.take([1, 0])


FRAMES: dict[str, Callable[[], Any]] = {
    "table": lambda: ARROW,
    "batch": lambda: ARROW.to_batches()[0],
    "reader": ARROW.to_reader,
    "dataset": lambda: pyarrow.dataset.dataset(ARROW),
    "pandas": ARROW.to_pandas,
    "stream": OnlyStream,
    "columns": ARROW.to_pydict,
    "rows": ARROW.to_pylist,
    "split": Split,
}


@pytest.mark.parametrize("name", FRAMES)
def test_every_kind_of_table_in_memory_is_read(name: str) -> None:
    frame = FRAMES[name]()
    assert is_frame(frame)
    samples = read_table(to_table(frame), make_fields())
    assert samples.ids.tolist() == ([1, 3] if name == "split" else [3, 1])
    assert samples.array.shape == (2, 2)


def test_classes_of_a_split_have_their_names() -> None:
    class WithNames(Split):
        features: ClassVar[dict[str, Any]] = {"label": type("ClassLabel", (), {"names": ["no", "yes"]})()}

    assert to_table(WithNames())["label"].to_pylist() == ["yes", "no"]


def test_the_index_of_pandas_may_be_the_ids() -> None:
    frame = ARROW.to_pandas().set_index("id")
    assert read_table(to_table(frame), make_fields()).ids.tolist() == [3, 1]
    numbered = frame.reset_index(drop=True).rename_axis("id")
    assert read_table(to_table(numbered), make_fields()).ids.tolist() == [0, 1]


@pytest.mark.parametrize("value", [np.zeros((2, 3)), "a.parquet", 5, [1, 2], {}, None])
def test_arrays_paths_and_numbers_are_no_tables(value: Any) -> None:
    assert not is_frame(value)
    with pytest.raises(DataInvalid, match=r"^the table: is .*; give a DataFrame, an Arrow table or a path"):
        to_table(value)


def test_a_column_of_several_types_and_several_splits_are_refused_in_one_line() -> None:
    with pytest.raises(DataInvalid, match=r"^the table: cannot be read as Arrow's \(.*give each column"):
        to_table(pd.DataFrame({"a": [1, "x"]}))
    with pytest.raises(DataInvalid, match=r"^the table: is several tables \(train, test\); give one of them"):
        to_table({"train": ARROW, "test": ARROW})


def test_a_column_that_is_there_twice_is_named() -> None:
    twice = pa.Table.from_arrays([*ARROW.columns, pa.array([1, 2])], names=[*ARROW.column_names, "id"])
    with pytest.raises(DataInvalid, match=r"^the table: has more than one column id"):
        read_table(twice, make_fields())
