"""Values to and from Arrow, as pyarrow's own conversions give them."""

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from raymu.data.arrow_buffers import ids_to_arrow, to_arrow, to_numpy, whole

NUMBERS = [
    np.arange(7, dtype=np.uint64) << np.uint64(60),
    np.arange(-3, 4, dtype=np.int32),
    np.arange(12, dtype=np.int64)[::2],
    np.array([0.5, np.nan, -0.0], dtype=np.float32),
    np.array([True, False] * 9 + [True]),
    np.zeros(0, dtype=np.int64),
]


@pytest.mark.parametrize("values", NUMBERS, ids=lambda values: str(values.dtype))
def test_arrays_are_those_of_pyarrow(values: npt.NDArray[np.generic]) -> None:
    ours, theirs = to_arrow(values), pa.array(values)
    ours.validate(full=True)
    assert (ours.type, ours.null_count, len(ours)) == (theirs.type, 0, len(theirs))
    assert np.array_equal(ours.to_numpy(zero_copy_only=False), values, equal_nan=values.dtype.kind == "f")


@pytest.mark.parametrize(
    "values", [values for values in NUMBERS if values.dtype != np.bool_], ids=lambda v: str(v.dtype)
)
@pytest.mark.parametrize("cuts", [[], [2], [1, 1]])
def test_columns_come_back_whatever_their_chunks(values: npt.NDArray[np.generic], cuts: list[int]) -> None:
    column = pa.chunked_array([pa.array(part) for part in np.split(values, cuts)])
    read = to_numpy(column)
    assert read.dtype == values.dtype
    assert np.array_equal(read, values, equal_nan=values.dtype.kind == "f")
    assert np.array_equal(to_numpy(pa.array(values).slice(1)), values[1:], equal_nan=values.dtype.kind == "f")


def test_a_column_in_one_piece_is_not_copied_and_not_writable() -> None:
    array = pa.array(np.arange(5))
    read = to_numpy(array)
    assert read.ctypes.data == array.buffers()[1].address
    assert not read.flags.writeable


def test_a_column_without_chunks_is_empty() -> None:
    assert whole(pa.chunked_array([], pa.int32())).type == pa.int32()
    assert to_numpy(pa.chunked_array([], pa.int32())).dtype == np.int32


@pytest.mark.parametrize("column", [pa.array([1, None]), pa.array(["a"])])
def test_missing_numbers_and_texts_are_refused(column: pa.Array) -> None:
    with pytest.raises(pa.ArrowException):
        to_numpy(column)


@pytest.mark.parametrize(("ids", "kind"), [([3, -1], pa.int64()), (["a", "", "ö€"], pa.string()), ([], pa.string())])
def test_ids_are_of_the_type_of_the_column(ids: list[int | str], kind: pa.DataType) -> None:
    array = ids_to_arrow(ids, kind)
    array.validate(full=True)
    assert array.equals(pa.array(ids, type=kind))


def test_pandas_is_not_imported() -> None:
    program = (
        "import sys, numpy as np, pyarrow as pa\n"
        "from raymu.data.arrow_buffers import ids_to_arrow, to_arrow, to_numpy\n"
        "assert to_numpy(to_arrow(np.arange(3))).sum() == 3\n"
        "assert ids_to_arrow(['a'], pa.string()).to_pylist() == ['a']\n"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
