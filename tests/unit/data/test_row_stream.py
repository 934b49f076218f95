"""Tables to predict are read part after part: where parts begin, what they hold, and which row is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.data.classes import ClassTable
from raymu.data.row_stream import RowStream, open_rows
from raymu.data.sample_form import ARRAY
from raymu.data.tables import read_features, read_labelled
from raymu.errors import DataInvalid
from tests.support.shard_training import make_fields

CLASSES = ClassTable(count=3)


def write(path: Path, rows: int = 1000, *, group: int = 90, **columns: Any) -> str:
    values = np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)
    table = {"id": [f"a{number}" for number in range(rows)], "features": list(values), "label": [1] * rows} | columns
    pq.write_table(pa.table(table), path, row_group_size=group)
    return str(path)


def opened(path: str, *, is_labelled: bool = False) -> RowStream:
    return open_rows(path, make_fields(), ARRAY, input_shape=(2,), classes=CLASSES if is_labelled else None)


@pytest.mark.parametrize(("unit", "most"), [(1, 1), (64, 64), (64, 192), (256, 1024), (2000, 2000)])
def test_parts_begin_at_multiples_and_hold_all_rows_in_order(tmp_path: Path, unit: int, most: int) -> None:
    path = write(tmp_path / "rows.parquet")
    parts = list(opened(path, is_labelled=True).parts(unit, most=most))
    assert all(part.start % unit == 0 and 0 < len(part) <= most for part in parts)
    assert [part.start for part in parts] == np.cumsum([0, *(len(part) for part in parts[:-1])]).tolist()
    whole = read_labelled(path, make_fields(), CLASSES)
    np.testing.assert_array_equal(np.concatenate([np.asarray(part.features) for part in parts]), whole.array)
    assert [text for part in parts for text in (part.ids or pa.array([])).to_pylist()] == list(whole.ids)  # type: ignore[arg-type]
    assert [label for part in parts if part.labels is not None for label in part.labels.tolist()] == [1] * 1000


def test_ids_are_kept_in_the_form_that_all_of_them_have(tmp_path: Path) -> None:
    ids = pa.array([b"a" * 16] * 999 + [b"\xff" * 16], pa.binary(16))
    path = write(tmp_path / "rows.parquet", id=ids)
    first = next(opened(path).parts(64, most=64))
    few = read_features(write(tmp_path / "few.parquet", 2, id=ids.slice(998)), make_fields())
    assert first.ids is not None
    assert few.ids is not None
    assert first.ids.to_pylist()[0] == few.ids[0]


def test_a_table_without_rows_is_one_part_without_samples(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.parquet", 0, id=pa.array([], pa.int64()), features=pa.array([], pa.list_(pa.float32()))
    )
    [part] = opened(path).parts(64, most=64)
    assert part.ids is not None
    assert (np.asarray(part.features).shape, part.ids.type) == ((0, 2), pa.int64())
    with pytest.raises(DataInvalid, match="holds no rows"):
        opened(path, is_labelled=True)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "NaN": (
        {"features": [[0.0, np.nan if number in (700, 900) else 1.0] for number in range(1000)]},
        "NaN or infinite",
    ),
    "missing": ({"features": [None if number == 700 else [0.0, 1.0] for number in range(1000)]}, "lacks 1 value"),
    "lengths": ({"features": [[1.0] * (3 if number == 700 else 2) for number in range(1000)]}, "differ in length"),
    "ids": ({"id": [None if number == 700 else number for number in range(1000)]}, "column id lacks 1 value"),
    "labels": ({"label": [9 if number == 700 else 1 for number in range(1000)]}, "a label is 9"),
}


@pytest.mark.parametrize(("columns", "problem"), BAD.values(), ids=BAD)
def test_the_first_row_that_does_not_fit_is_named(tmp_path: Path, columns: dict[str, Any], problem: str) -> None:
    rows = opened(write(tmp_path / "rows.parquet", **columns), is_labelled=True)
    with pytest.raises(DataInvalid, match=rf"{problem}.*; the first is row 701$"):
        list(rows.parts(64, most=128))


def test_a_column_that_does_not_fit_has_no_first_row(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"they must be integers, floats or booleans[^;]*$"):
        list(opened(write(tmp_path / "rows.parquet", features=[["a", "b"]] * 1000)).parts(64, most=64))
    pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "bare.parquet")
    with pytest.raises(DataInvalid, match="has no column features"):
        opened(str(tmp_path / "bare.parquet"))


def test_rows_are_counted(tmp_path: Path) -> None:
    assert opened(write(tmp_path / "rows.parquet")).count() == 1000
    table = pq.read_table(tmp_path / "rows.parquet")
    with pa.ipc.new_stream(str(tmp_path / "rows.arrow"), table.schema) as sink:
        sink.write_table(table, max_chunksize=300)
    assert opened(str(tmp_path / "rows.arrow")).count() == 1000


def of_parquet(table: pa.Table, folder: Path) -> str:
    pq.write_table(table.slice(0, 333), folder / "1.parquet", row_group_size=70)
    pq.write_table(table.slice(333), folder / "2.parquet", row_group_size=70)
    return str(folder)


def of_stream(table: pa.Table, folder: Path) -> str:
    for name, part in {"1.arrow": table.slice(0, 333), "2.arrow": table.slice(333)}.items():
        with pa.ipc.new_stream(str(folder / name), part.schema) as sink:
            sink.write_table(part, max_chunksize=70)
    return str(folder)


@pytest.mark.parametrize("span", [(0, 64), (64, 128), (320, 384), (320, None), (576, 1000), (960, 1024)])
@pytest.mark.parametrize("form", [of_parquet, of_stream])
def test_a_span_of_rows_is_that_of_the_whole(
    tmp_path: Path, form: Callable[[pa.Table, Path], str], span: tuple[int, int | None]
) -> None:
    table = pq.read_table(write(tmp_path / "rows.parquet"))
    (tmp_path / "table").mkdir()
    start, stop = span
    parts = list(opened(form(table, tmp_path / "table")).parts(64, most=128, start=start, stop=stop))
    assert parts[0].start == start
    assert all(part.start % 64 == 0 and len(part) <= 128 for part in parts)
    assert [text for part in parts for text in (part.ids or pa.array([])).to_pylist()] == table["id"].to_pylist()[
        start:stop
    ]
