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
from raymu.data.tables import fit_classes, read_features, read_table
from raymu.errors import DataInvalid
from tests.support.shard_training import make_fields

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
    assert table.features.tolist() == GOOD["features"]
    assert table.features.dtype == np.float32
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
    "ids that are fractions": ({"id": [1.0, 2.0, 3.0]}, "ids in column id are double; they must be integers or str"),
    "ids that are booleans": ({"id": [True, False, True]}, "ids in column id are bool"),
    "ids beyond 64 bits with a sign": (
        {"id": pa.array([1, 2, 2**63], type=pa.uint64())},
        "column id holds integers beyond 64 bits with a sign; renumber",
    ),
    "labels that are text": ({"label": ["a", "b", "c"]}, "labels in column label are string; number the classes from"),
    "labels that are fractions": ({"label": [0.0, 1.0, 1.0]}, "labels in column label are double"),
    "labels beyond 64 bits with a sign": (
        {"label": pa.array([1, 2, 2**64 - 1], type=pa.uint64())},
        "column label holds integers beyond 64 bits",
    ),
    "a negative label": ({"label": [0, -1, 1]}, "a label in column label is -1; number the classes from 0"),
    "a label over the classes": ({"label": [0, 1, 3]}, r"a label is 3, but data\.classes is 3; mend it, or train"),
    "an owner that is a fraction": ({"owner": [0.5, 1.0, 2.0]}, "owners in column owner are double"),
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
    "features that are times": (
        {"features": np.array([1, 2, 3], "datetime64[s]")},
        "they must be integers, floats or booleans",
    ),
    "features that are exact decimals": (
        {"features": [[Decimal("0.5")]] * 3},
        r"features in column features are list<element: decimal128\(.*they must be integers, floats or booleans",
    ),
    "features in a dictionary of text": (
        {"features": pa.array(["a", "b", "a"]).dictionary_encode()},
        "features in column features are string; they must be",
    ),
    "structs": ({"features": [{"width": 1.0}] * 3}, "features in column features are struct<width: double>"),
    "single numbers": (
        {"features": [1.0, 2.0, 3.0]},
        r"column features holds single numbers; list such columns: data\.features: \[features\]",
    ),
    "ids with space around them": ({"id": ["a", "b ", " c"]}, "or have space around them, such as 'b '; trim them"),
    "an empty id": ({"id": ["a", "", "c"]}, "ids in column id are empty, or have space"),
    "an id of spaces only": ({"id": ["a", "\t", "c"]}, "ids in column id are empty, or have space"),
    "ids in lists": ({"id": [[1], [2], [3]]}, "ids in column id are list<element: int64>"),
    "ids that are times": ({"id": np.array([1, 2, 3], "datetime64[s]")}, r"ids in column id are timestamp"),
    "labels in a dictionary of text": (
        {"label": pa.array(["a", "b", "a"]).dictionary_encode()},
        "labels in column label are string; number the classes from 0",
    ),
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


@pytest.mark.parametrize("read", [read_table, read_features])
@pytest.mark.parametrize("name", ["features that are not finite", "lists of differing length", "a null label"])
def test_features_to_predict_are_checked_like_training_data(tmp_path: Path, read: Reader, name: str) -> None:
    columns, problem = REFUSED[name]
    with pytest.raises(DataInvalid, match=problem):
        read(write(tmp_path, **columns), make_fields())


def test_a_table_to_predict_needs_features_only(tmp_path: Path) -> None:
    table = read_features(write(tmp_path, id=None, label=None), make_fields())
    assert table.features.tolist() == GOOD["features"]
    assert table.ids is None
    assert table.labels is None
    whole = read_features(write(tmp_path), make_fields())
    assert whole.ids is not None
    assert whole.labels is not None
    with pytest.raises(DataInvalid, match="has no column features"):
        read_features(write(tmp_path, features=None), make_fields())


@pytest.mark.parametrize(("labels", "configured", "classes"), [([0, 4], None, 5), ([0, 0], None, 2), ([0, 1], 7, 7)])
def test_classes_are_those_configured_or_counted(labels: list[int], configured: int | None, classes: int) -> None:
    assert fit_classes(np.array(labels), configured) == classes


def test_a_number_that_models_cannot_hold_is_refused_by_the_name_of_its_column(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"id": [1, 2], "label": [0, 1], "x": [0.0, 1.0], "y": [1.0, 1e39]}), tmp_path / "all.parquet"
    )
    fields = DataConfig(train="all.parquet", features=("x", "y"))
    with pytest.raises(
        DataInvalid, match=r"column y has numbers beyond 3\.4e\+38, which models cannot hold: rescale it"
    ):
        read_table(str(tmp_path / "all.parquet"), fields)
