"""What read_table and read_features refuse."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.config import DataConfig
from raymu.data.classes import ClassTable
from raymu.data.tables import FeatureTable, read_features, read_labelled, read_table, read_training_table
from raymu.errors import DataInvalid
from tests.support.shard_training import make_fields

UUID_TEXT = "3d276989-dba2-4d28-b0f5-d582874bddc3"
GOOD: dict[str, Any] = {
    "id": [3, 1, 2],
    "label": [0, 1, 1],
    "features": [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]],
    "owner": ["anna", None, "zoe"],
    "risk": [0.0, 0.5, 1.0],
}


def write(folder: Path, **columns: Any) -> str:
    """Write a Parquet file of good columns with some changes. A column that is None is left out."""
    place = folder / "samples.parquet"
    pq.write_table(pa.table({name: values for name, values in (GOOD | columns).items() if values is not None}), place)
    return str(place)


def test_a_good_table_is_read_in_the_order_of_its_rows(tmp_path: Path) -> None:
    table = read_table(write(tmp_path), make_fields(owner="owner", risk="risk"))
    assert table.ids.tolist() == [3, 1, 2]
    assert table.labels.tolist() == [0, 1, 1]
    assert table.array.tolist() == GOOD["features"]
    assert table.array.dtype == np.float32
    assert table.owners is not None
    assert table.owners.tolist() == ["anna", None, "zoe"]
    assert table.risks is not None
    assert table.risks.tolist() == [0.0, 0.5, 1.0]


def test_other_columns_are_not_read(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, owner=[1.5, None, 2.5], risk=[7, 8, None]), make_fields())
    assert table.owners is None
    assert table.risks is None


@pytest.mark.parametrize("name", ["samples.parquet", "samples.arrow", "samples.feather"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataInvalid, match=rf"{name}: cannot be read .*No such file"):
        read_table(str(tmp_path / name), make_fields())


@pytest.mark.parametrize("name", ["samples.parquet", "samples.arrow", "samples.feather"])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"id,label\n1,2\n" * 20)
    with pytest.raises(DataInvalid, match="cannot be read"):
        read_table(str(tmp_path / name), make_fields())


@pytest.mark.parametrize("name", ["samples.csv", "samples", "samples.parquet.gz"])
def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"id,label\n1,2\n")
    with pytest.raises(DataInvalid, match=r"no known format; give a \.parquet, \.arrow or \.feather file"):
        read_table(str(tmp_path / name), make_fields())


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(DataInvalid, match="cannot be read"):
        read_table("nowhere://bucket/samples.parquet", make_fields())


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "samples.parquet"
    pq.write_table(pa.table(GOOD).slice(0, 0), place)
    with pytest.raises(DataInvalid, match="holds no rows"):
        read_table(str(place), make_fields())


def test_missing_columns_are_named_with_the_existing_ones(tmp_path: Path) -> None:
    fields = make_fields(label="class", owner="patient", features=("width", "risk"))
    with pytest.raises(DataInvalid, match=r"has no column class, width, patient; it has id, label, .*set data\.\*"):
        read_table(write(tmp_path), fields)


def lists(*rows: Any, kind: pa.DataType) -> pa.Array:
    return pa.array(rows, type=kind)


NAN, INF = float("nan"), float("inf")
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a null id": ({"id": [1, None, 3]}, "column id lacks 1 value; fill them or drop"),
    "a null label": ({"label": [1, None, None]}, "column label lacks 2 values"),
    "null features": ({"features": [[1.0], None, [2.0]]}, "column features lacks 1 value"),
    "a null risk": ({"risk": [0.0, None, 1.0]}, "column risk lacks 1 value"),
    "integer ids that occur again": ({"id": [7, 7, 7]}, "column id are not unique: 1 occur again, such as 7"),
    "string ids that occur again": ({"id": ["a", "b", "a"]}, "not unique: 1 occur again, such as 'a'"),
    "ids that are fractions": (
        {"id": [1.0, 2.5, 3.0]},
        "ids in column id: 2.5 has a fraction, and could be meant as 2",
    ),
    "ids that are one UUID in two spellings": (
        {"id": [UUID_TEXT, UUID_TEXT.replace("-", ""), "c"]},
        "column id are not unique: 1 occur again",
    ),
    "ids that are booleans": ({"id": [True, False, True]}, "ids in column id are bool"),
    "labels that are fractions": ({"label": [0.0, 0.5, 1.0]}, "labels in column label: 0.5 has a fraction"),
    "labels that are other than the classes": (
        {"label": ["a", "b", "b"]},
        r"column label has 2 labels, but data\.classes is 3; leave data\.classes out",
    ),
    "labels that are lists": ({"label": [[0], [1], [1]]}, "labels in column label are list<element: int64>"),
    "a label over the classes": ({"label": [0, 1, 3]}, r"a label is 3, but data\.classes is 3; mend it, or train"),
    "an owner that is a fraction": ({"owner": [0.5, 1.0, 2.0]}, "owners in column owner: 0.5 has a fraction"),
    "a risk that is text": ({"risk": ["a", "b", "c"]}, "risks in column risk are string; they must be probabilities"),
    "a negative risk": ({"risk": [0.0, -0.1, 1.0]}, r"risks in column risk leave \[0, 1\]"),
    "a risk over 1": ({"risk": [0, 1, 2]}, r"risks in column risk leave \[0, 1\]"),
    "a risk that is not a number": ({"risk": [0.0, NAN, 1.0]}, r"risks in column risk leave \[0, 1\]"),
    "features that are not finite": (
        {"features": [[NAN, 1.0], [1.0, 1.0], [NAN, 2.0]]},
        "missing, NaN or infinite features in 2 rows",
    ),
    "infinite features": (
        {"features": [[INF, 1.0], [1.0, 1.0], [2.0, 2.0]]},
        "missing, NaN or infinite features in 1 row",
    ),
    "features beyond float32": (
        {"features": [[1e39, 1.0], [1.0, 1.0], [2.0, 2.0]]},
        "missing, NaN or infinite features in 1 row",
    ),
    "features that are text": (
        {"features": [["a"], ["b"], ["c"]]},
        "column features are list<element: string>; they must be integers, floats or",
    ),
    "features that are durations": (
        {"features": np.array([1, 2, 3], "timedelta64[s]")},
        "they must be integers, floats or booleans",
    ),
    "features in a dictionary of text": (
        {"features": pa.array(["a", "b", "a"]).dictionary_encode()},
        r"features in column features are dictionary.*; they must be .* or leave the column out of data\.features",
    ),
    "structs": ({"features": [{"width": 1.0}] * 3}, "features in column features are struct<width: double>"),
    "single numbers": (
        {"features": [1.0, 2.0, 3.0]},
        r"column features holds single numbers; list such columns: data\.features: \[features\]",
    ),
    "ids that differ by space only": (
        {"id": ["b", "b ", " c"]},
        "column id are not unique: 1 occur again, such as 'b'",
    ),
    "an empty id": ({"id": ["a", "", "c"]}, "column id lacks 1 value"),
    "an id of spaces only": ({"id": ["a", "\t", "c"]}, "column id lacks 1 value"),
    "ids in lists": ({"id": [[1], [2], [3]]}, "ids in column id are list<element: int64>"),
    "an owner that is a boolean": ({"owner": [True, False, True]}, "owners in column owner are bool"),
    "lists of differing length": ({"features": [[1.0, 2.0], [1.0], [2.0, 3.0]]}, "features differ in length or are em"),
    "lists of nothing": ({"features": [[], [], []]}, "lists in column features differ in length or are empty"),
    "inner lists of differing length": ({"features": [[[1, 2], [3]], [[1], [2]], [[1], [2]]]}, "differ in length"),
    "inner lists that are missing": ({"features": [[[1], None], [[1], [2]], [[1], [2]]]}, "differ in length"),
    "values missing inside lists": (
        {"features": [[1, None], [1, 2], [1, 2]]},
        "missing, NaN or infinite features in 1 row",
    ),
    "values missing inside fixed lists": (
        {"features": lists([1, 2], [1, None], [1, 2], kind=pa.list_(pa.int8(), 2))},
        "missing, NaN or infinite features in 1 row; mend or drop them",
    ),
    "fixed lists missing inside fixed lists": (
        {"features": lists([[1], [2]], [[1], None], [[1], [2]], kind=pa.list_(pa.list_(pa.int8(), 1), 2))},
        "differ in length or are empty; every sample needs as many features",
    ),
}


@pytest.mark.parametrize(("columns", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_table_is_refused_with_the_column_and_the_next_step(
    tmp_path: Path, columns: dict[str, Any], problem: str
) -> None:
    path = write(tmp_path, **columns)
    with pytest.raises(DataInvalid, match=problem) as refusal:
        read_table(path, make_fields(owner="owner", risk="risk", classes=3))
    assert refusal.value.source == path


@pytest.mark.parametrize("name", ["samples.parquet", "samples.arrow"])
def test_a_duplicate_column_is_refused(tmp_path: Path, name: str) -> None:
    good = pa.table(GOOD)
    twice = good.append_column("label", good["label"])
    if name.endswith(".parquet"):
        pq.write_table(twice, tmp_path / name)
    else:
        with pa.ipc.new_file(tmp_path / name, twice.schema) as file:
            file.write_table(twice)
    with pytest.raises(DataInvalid, match=r"more than one column label; rename|Multiple matches .*\(label\)"):
        read_table(str(tmp_path / name), make_fields())


def test_columns_of_different_shapes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, width=[1.0, 2.0, 3.0])
    with pytest.raises(DataInvalid, match="columns features, width differ in shape; each needs as many numbers"):
        read_table(path, make_fields(features=("features", "width")))


def test_categories_are_read_as_their_values(tmp_path: Path) -> None:
    encoded = {name: pa.array(GOOD[name]).dictionary_encode() for name in ("id", "label", "owner")}
    table = read_table(write(tmp_path, **encoded), make_fields(owner="owner"))
    assert table.ids.tolist() == GOOD["id"]
    assert table.labels.tolist() == GOOD["label"]
    assert table.owners is not None
    assert table.owners.tolist() == GOOD["owner"]


def test_scalar_columns_are_each_checked(tmp_path: Path) -> None:
    path = write(tmp_path, width=[1.0, 2.0, 3.0], height=[1.0, None, INF])
    with pytest.raises(DataInvalid, match="column height lacks 1 value"):
        read_table(path, make_fields(features=("width", "height")))


Reader = Callable[[str, DataConfig], object]


def _read_labelled(path: str, fields: DataConfig) -> FeatureTable:
    return read_labelled(path, fields, ClassTable(count=3))


@pytest.mark.parametrize("labels", [[None] * 3, [-1, -1, -1], ["?", "", "a"], [7, 8, 9]])
def test_labels_of_a_table_to_predict_are_not_read(tmp_path: Path, labels: list[Any]) -> None:
    path = write(tmp_path, label=labels)
    assert read_features(path, make_fields()).labels is None
    with pytest.raises(DataInvalid, match=r"column label|a label is 9, but data\.classes is 3"):
        _read_labelled(path, make_fields())


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), 2)])
def test_a_table_to_predict_may_have_no_rows(tmp_path: Path, kind: pa.DataType) -> None:
    path = str(tmp_path / "none.parquet")
    pq.write_table(pa.table({"id": pa.array([], pa.int64()), "features": pa.array([], kind)}), path)
    table = read_features(path, make_fields(), (2,))
    assert table.array.shape == (0, 2)
    assert table.ids is not None
    assert len(table.ids) == 0
    with pytest.raises(DataInvalid, match="holds no rows"):
        read_features(path, make_fields())


@pytest.mark.parametrize("read", [read_table, read_features, _read_labelled])
@pytest.mark.parametrize("name", ["features that are not finite", "lists of differing length"])
def test_features_to_predict_are_checked_like_training_data(tmp_path: Path, read: Reader, name: str) -> None:
    columns, problem = REFUSED[name]
    with pytest.raises(DataInvalid, match=problem):
        read(write(tmp_path, **columns), make_fields())


def test_a_table_to_predict_needs_features_only(tmp_path: Path) -> None:
    table = read_features(write(tmp_path, id=None, label=None), make_fields())
    assert table.array.tolist() == GOOD["features"]
    assert table.ids is None
    assert table.labels is None
    whole = _read_labelled(write(tmp_path), make_fields())
    assert whole.ids is not None
    assert whole.labels is not None
    with pytest.raises(DataInvalid, match="has no column features"):
        read_features(write(tmp_path, features=None), make_fields())


KEPT_FEATURES: dict[str, tuple[Any, list[Any]]] = {
    "exact decimals": ([[Decimal("0.5")]] * 3, [[0.5]] * 3),
    "booleans": ([[True], [False], [True]], [[1], [0], [1]]),
    "half floats": (pa.array([[np.float16(0.5)]] * 3, pa.list_(pa.float16())), [[0.5]] * 3),
    "list views": (pa.array([[1, 2]] * 3, pa.list_view(pa.int8())), [[1, 2]] * 3),
    "tensors": (
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(6.0).reshape(3, 2, 1)),
        [[[0.0], [1.0]], [[2.0], [3.0]], [[4.0], [5.0]]],
    ),
}


@pytest.mark.parametrize(("values", "features"), KEPT_FEATURES.values(), ids=KEPT_FEATURES)
def test_features_of_many_types_are_numbers(tmp_path: Path, values: Any, features: list[Any]) -> None:
    path = str(tmp_path / "samples.arrow")
    table = pa.table({"id": [1, 2, 3], "label": [0, 1, 1], "features": values})
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    assert read_table(path, make_fields()).array.tolist() == features


def test_points_in_time_are_seconds_which_is_said(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        seen=np.array(["2026-12-01T00:00:00.5", "1970-01-01", "1969-12-31"], "datetime64[ms]"),
        born=pa.array([1, 0, -1], pa.date32()),
    )
    training = read_training_table(path, make_fields(features=("seen", "born")), is_wide=True)
    assert training.samples.array.tolist() == [[1796083200.5, 86400.0], [0.0, 0.0], [-86400.0, -86400.0]]
    assert training.conversions == (
        "features in column seen: timestamp[ms] became seconds since 1970",
        "features in column born: date32[day] became seconds since 1970",
    )


def test_what_is_converted_is_said_column_by_column(tmp_path: Path) -> None:
    path = write(tmp_path, id=[3.0, 1.0, 2.0], label=["fox", "dog", "dog"], owner=["anna ", None, "zoe"])
    training = read_training_table(path, make_fields(owner="owner"))
    assert training.conversions == (
        "ids in column id: double became integers",
        "owners in column owner: space around them was left out",
        "labels in column label: class 0 is 'dog', 1 is 'fox'",
    )
    assert training.samples.labels.tolist() == [1, 0, 0]
    assert read_training_table(write(tmp_path), make_fields()).conversions == ()


def test_text_is_read_as_the_first_version_kept_it(tmp_path: Path) -> None:
    path = write(tmp_path, id=[UUID_TEXT.upper(), "b", "c"], owner=["anna ", "", None])
    table = read_table(path, make_fields(owner="owner"), is_verbatim=True)
    assert table.ids.tolist() == [UUID_TEXT.upper(), "b", "c"]
    assert table.owners is not None
    assert table.owners.tolist() == ["anna ", "", None]


def test_a_number_that_models_cannot_hold_is_refused_by_the_name_of_its_column(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"id": [1, 2], "label": [0, 1], "x": [0.0, 1.0], "y": [1.0, 1e39]}), tmp_path / "all.parquet"
    )
    fields = DataConfig(train="all.parquet", features=("x", "y"))
    with pytest.raises(
        DataInvalid, match=r"column y has numbers beyond 3\.4e\+38, which models cannot hold: rescale it"
    ):
        read_table(str(tmp_path / "all.parquet"), fields)
