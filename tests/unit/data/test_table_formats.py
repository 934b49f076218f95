"""Every supported format and column type of tables, and the run's own tables."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from raymu.data.run_table import from_arrow, to_arrow
from raymu.data.tables import SampleTable, read_table
from tests.support.shard_training import make_fields

Pixels = npt.NDArray[Any]

FIELDS = make_fields()
DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float32")


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)


def write_file(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "samples.parquet": pq.write_table,
    "samples.feather": pyarrow.feather.write_feather,
    "samples.arrow": write_file,
    "stream.arrow": write_stream,
    "samples.ipc": write_file,
}


def flat(values: Pixels) -> pa.Array:
    return pa.array(np.ascontiguousarray(values).reshape(-1))


def fixed_size_list(values: Pixels) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(flat(values), values[0].size)


def nested_fixed_size_lists(values: Pixels) -> pa.Array:
    array = flat(values)
    for width in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, width)
    return array


def nested_lists(values: Pixels) -> pa.Array:
    return pa.array(values.tolist(), type=list_type(pa.from_numpy_dtype(values.dtype), values.ndim - 1))


def list_type(kind: pa.DataType, depth: int) -> pa.DataType:
    return kind if depth == 0 else pa.list_(list_type(kind, depth - 1))


def large_lists(values: Pixels) -> pa.Array:
    return pa.array(list(values.reshape(len(values), -1)), type=pa.large_list(pa.from_numpy_dtype(values.dtype)))


def tensors(values: Pixels) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))


SHAPED: dict[str, Callable[[Pixels], pa.Array]] = {
    "nested fixed-size lists": nested_fixed_size_lists,
    "nested lists": nested_lists,
    "tensors": tensors,
}
FLAT: dict[str, Callable[[Pixels], pa.Array]] = {"fixed-size lists": fixed_size_list, "large lists": large_lists}


def pixels(dtype: str, *shape: int) -> Pixels:
    return np.random.default_rng(5).integers(0, 100, size=shape).astype(dtype)


def read(folder: Path, features: pa.Array | pa.ChunkedArray, writer: str = "samples.parquet") -> Pixels:
    rows = np.arange(len(features))
    WRITERS[writer](pa.table({"id": rows, "label": rows, "features": features}), folder / writer)
    return read_table(str(folder / writer), FIELDS).array


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("column", (FLAT | SHAPED).values(), ids=FLAT | SHAPED)
def test_every_format_gives_the_same_features(
    tmp_path: Path, writer: str, column: Callable[[Pixels], pa.Array]
) -> None:
    values = pixels("uint8", 5, 2, 3)
    features = read(tmp_path, column(values), writer)
    assert features.shape == ((5, 2, 3) if column in SHAPED.values() else (5, 6))
    assert features.dtype == np.uint8
    np.testing.assert_array_equal(features.reshape(values.shape), values)


def test_the_first_version_of_feather_is_read_too(tmp_path: Path) -> None:
    path = str(tmp_path / "samples.feather")
    with pytest.warns(DeprecationWarning, match="Feather V1"):
        pyarrow.feather.write_feather(pa.table({"id": [1, 2], "label": [0, 1], "a": [0.5, 1.5]}), path, version=1)
    with pytest.warns(DeprecationWarning, match="Feather V1"):
        samples = read_table(path, make_fields(features=("a",)))
    assert samples.array.tolist() == [[0.5], [1.5]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("column", SHAPED.values(), ids=SHAPED)
def test_integers_keep_their_type(tmp_path: Path, dtype: str, column: Callable[[Pixels], pa.Array]) -> None:
    values = pixels(dtype, 4, 3)
    features = read(tmp_path, column(values))
    assert features.dtype == dtype
    np.testing.assert_array_equal(features, values)


@pytest.mark.parametrize(("dtype", "becomes"), [("float64", "float32"), ("float16", "float32"), ("bool", "uint8")])
def test_other_numbers_become_float32_or_bytes(tmp_path: Path, dtype: str, becomes: str) -> None:
    values = pixels(dtype, 4, 3)
    features = read(tmp_path, fixed_size_list(values))
    assert features.dtype == becomes
    np.testing.assert_array_equal(features, values.astype(becomes))


@pytest.mark.parametrize("column", (FLAT | SHAPED).values(), ids=FLAT | SHAPED)
@given(cuts=st.lists(st.integers(0, 9), max_size=3), start=st.integers(0, 8), count=st.integers(1, 9))
def test_slices_and_chunks_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    column: Callable[[Pixels], pa.Array],
    cuts: list[int],
    start: int,
    count: int,
) -> None:
    values = pixels("int16", 9, 2, 2)
    array = column(values)
    bounds = [0, *sorted(cuts), 9]
    chunks = [array[low:high] for low, high in pairwise(bounds)]
    chunked = pa.chunked_array(chunks).slice(start, count)
    features = read(tmp_path_factory.mktemp("data"), chunked, "samples.arrow")
    np.testing.assert_array_equal(features.reshape(-1, 2, 2), values[start : start + count])


def test_scalar_columns_are_joined_in_the_requested_order(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "label": [0, 1], "width": pa.array([1, 2], pa.int16()), "height": [0.5, 1.5]})
    pq.write_table(table, tmp_path / "samples.parquet")
    features = read_table(str(tmp_path / "samples.parquet"), make_fields(features=("height", "width"))).array
    assert features.dtype == np.float32
    assert features.tolist() == [[0.5, 1.0], [1.5, 2.0]]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.int8(), pa.uint64()])
def test_ids_are_strings_or_64_bit_integers(tmp_path: Path, kind: pa.DataType) -> None:
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ids = ["7", "a"] if is_text else [7, 8]
    table = pa.table({"id": pa.array(ids, type=kind), "label": [0, 1], "features": [[1.0], [2.0]]})
    pq.write_table(table, tmp_path / "samples.parquet")
    read_ids = read_table(str(tmp_path / "samples.parquet"), FIELDS).ids
    assert read_ids.tolist() == ids
    assert read_ids.dtype == (object if is_text else np.int64)


def test_a_uri_is_read_as_the_path_is(tmp_path: Path) -> None:
    values = pixels("uint8", 3, 2)
    read(tmp_path, fixed_size_list(values))
    read_back = read_table((tmp_path / "samples.parquet").as_uri(), FIELDS)
    np.testing.assert_array_equal(read_back.features, values)


@st.composite
def sample_tables(draw: st.DrawFn) -> SampleTable:
    count = draw(st.integers(0, 5))
    shape = (count, *draw(st.lists(st.integers(1, 3), max_size=3)))
    text = st.text(st.characters(codec="utf-8"), max_size=4)
    ids = draw(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=count, max_size=count, unique=True).map(
            lambda ids: np.array(ids, dtype=np.int64)
        )
        | st.lists(text, min_size=count, max_size=count, unique=True).map(lambda ids: np.array(ids, dtype=object))
    )
    owners = draw(
        st.none()
        | st.lists(st.none() | text, min_size=count, max_size=count).map(lambda names: np.array(names, dtype=object))
    )
    return SampleTable(
        ids=ids,
        features=draw(st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, shape))),
        labels=draw(arrays.arrays(np.int64, count)),
        owners=owners,
    )


@given(table=sample_tables(), data=st.data())
def test_the_runs_own_table_gives_the_samples_back_exactly(table: SampleTable, data: st.DataObject) -> None:
    slices = data.draw(arrays.arrays(np.int64, len(table.ids)))
    sink = pa.BufferOutputStream()
    pq.write_table(to_arrow(table, slices), sink)
    read_back, read_slices = from_arrow(pq.read_table(pa.BufferReader(sink.getvalue())))
    np.testing.assert_array_equal(read_slices, slices, strict=True)
    np.testing.assert_array_equal(read_back.ids, table.ids, strict=True)
    np.testing.assert_array_equal(read_back.labels, table.labels, strict=True)
    np.testing.assert_array_equal(read_back.features, table.features, strict=True)
    assert (read_back.owners is None) == (table.owners is None)
    if read_back.owners is not None and table.owners is not None:
        assert read_back.owners.tolist() == table.owners.tolist()


def test_taken_rows_have_the_requested_order() -> None:
    table = SampleTable(
        ids=np.array([5, 6, 7]),
        features=pixels("uint8", 3, 2),
        labels=np.array([0, 1, 2]),
        owners=np.array(["a", None, "c"], dtype=object),
        risks=np.array([0.0, 0.5, 1.0]),
    )
    taken = table.take(np.array([2, 0]))
    assert (taken.ids.tolist(), taken.labels.tolist()) == ([7, 5], [2, 0])
    np.testing.assert_array_equal(taken.array, table.array[[2, 0]])
    assert taken.owners is not None
    assert taken.owners.tolist() == ["c", "a"]
    assert taken.risks is not None
    assert taken.risks.tolist() == [1.0, 0.0]
