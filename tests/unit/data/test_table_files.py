"""Tables that lie in several files: directories, patterns, lists and partitions."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from raymu.config import Config
from raymu.core.trust import demands_of
from raymu.data.tables import read_features, read_table, read_training_table
from raymu.errors import DataInvalid
from tests.support.shard_training import make_fields


def rows(*ids: int, **columns: Any) -> pa.Table:
    values = {"id": ids, "label": [number % 2 for number in ids], "features": [[float(number)] for number in ids]}
    return pa.table(values | columns)


def write(place: Path, table: pa.Table) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, place)


def spark(folder: Path) -> str:
    for number, ids in enumerate(([1, 2], [3], [4, 5])):
        write(folder / f"all.parquet/part-0000{number}-abc.c000.snappy.parquet", rows(*ids))
    (folder / "all.parquet/_SUCCESS").touch()
    (folder / "all.parquet/.part-00000.crc").write_bytes(b"crc")
    write(folder / "all.parquet/_temporary/0/part.parquet", rows(99))
    return str(folder / "all.parquet")


def saved_by_datasets(folder: Path) -> str:
    for number, ids in enumerate(([1, 2], [3, 4, 5])):
        place = folder / f"all/data-0000{number}-of-00002.arrow"
        place.parent.mkdir(exist_ok=True)
        with pa.ipc.new_stream(str(place), rows(*ids).schema) as file:
            file.write_table(rows(*ids))
    (folder / "all/dataset_info.json").write_text("{}")
    (folder / "all/README.md").write_text("# Letters")
    (folder / "all/empty").touch()
    return str(folder / "all")


def nested(folder: Path) -> str:
    for number in range(1, 6):
        write(folder / f"all/2026/0{number}/x.PARQUET", rows(number))
    return str(folder / "all")


def pattern(folder: Path) -> str:
    nested(folder)
    write(folder / "all/2026/.hidden/x.PARQUET", rows(99))
    return str(folder / "all/*/0?/*.PARQUET")


def deep_pattern(folder: Path) -> str:
    nested(folder)
    return str(folder / "all/**/*.PARQUET")


def pattern_of_directories(folder: Path) -> str:
    nested(folder)
    return str(folder / "all/2026/0[1-5]")


def several(folder: Path) -> str:
    write(folder / "a.pq", rows(1, 2))
    pa.feather.write_feather(rows(3), str(folder / "b.anything"))
    pa.feather.write_feather(rows(4), str(folder / "c"))
    write(folder / "d/e.parq", rows(5))
    return "\n".join(str(folder / name) for name in ("a.pq", "b.anything", "c", "d", "a.pq"))


def uris(folder: Path) -> str:
    return f"file://{spark(folder)}"


def pattern_of_uris(folder: Path) -> str:
    nested(folder)
    return f"file://{folder}/all/2026/*/*.PARQUET"


@pytest.mark.parametrize(
    "make",
    [spark, saved_by_datasets, nested, pattern, deep_pattern, pattern_of_directories, several, uris, pattern_of_uris],
)
def test_all_files_of_a_location_are_one_table(tmp_path: Path, make: Any) -> None:
    training = read_training_table(make(tmp_path), make_fields())
    assert sorted(training.samples.ids.tolist()) == [1, 2, 3, 4, 5]
    assert training.samples.array[:, 0].tolist() == training.samples.ids.tolist()
    [line] = training.conversions
    assert line.endswith("files are one table")
    assert "99" not in line.replace(str(tmp_path), "")


@pytest.mark.parametrize("name", ["all.PARQUET", "all.parq", "all.pq", "all", "all.data", "all.csv"])
def test_a_file_is_what_its_content_says(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, rows(1, 2))
    assert read_table(str(tmp_path / name), make_fields()).ids.tolist() == [1, 2]


def test_folders_of_hive_are_columns(tmp_path: Path) -> None:
    for owner, number in (("anna%20b", 1), ("007", 2), ("__HIVE_DEFAULT_PARTITION__", 3)):
        table = rows(number, number + 10).drop_columns("label")
        write(tmp_path / f"all/owner={owner}/label={number % 2}/x.parquet", table)
    table = read_table(str(tmp_path / "all"), make_fields(owner="owner"))
    assert table.owners is not None
    assert dict(zip(table.ids.tolist(), table.owners.tolist(), strict=True)) == {
        1: "anna b",
        11: "anna b",
        2: "007",
        12: "007",
        3: None,
        13: None,
    }
    assert (table.labels == table.ids % 10 % 2).all()


def test_a_folder_can_be_a_feature_and_what_a_file_has_itself_comes_first(tmp_path: Path) -> None:
    for year in (2024, 2025):
        write(tmp_path / f"id=7/year={year}/x.parquet", rows(year))
    table = read_table(str(tmp_path / "id=7"), make_fields())
    assert sorted(table.ids.tolist()) == [2024, 2025]
    features = read_features(str(tmp_path / "id=7"), make_fields(features=("year",)))
    assert sorted(features.array[:, 0].tolist()) == [2024, 2025]


UNIFIED: dict[str, tuple[pa.Array, pa.Array, list[Any]]] = {
    "integers": (pa.array([1], pa.int32()), pa.array([2], pa.int64()), [1, 2]),
    "unsigned integers": (pa.array([2**63], pa.uint64()), pa.array([-2], pa.int8()), [str(2**63), "-2"]),
    "text and categories": (pa.array(["a"]).dictionary_encode(), pa.array(["b"], pa.large_string()), ["a", "b"]),
    "text and views": (pa.array(["a"], pa.string_view()), pa.array(["b"]), ["a", "b"]),
    "integers and floats": (pa.array([1]), pa.array([2.0]), [1, 2]),
}


@pytest.mark.parametrize(("first", "second", "ids"), UNIFIED.values(), ids=UNIFIED)
def test_types_that_differ_harmlessly_are_one(
    tmp_path: Path, first: pa.Array, second: pa.Array, ids: list[Any]
) -> None:
    write(tmp_path / "all/a.parquet", rows(1, id=first))
    write(tmp_path / "all/b.parquet", rows(2, id=second))
    assert read_table(str(tmp_path / "all"), make_fields()).ids.tolist() == ids


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (rows(2, id=["a"]), r"b\.parquet: column id is string here, and int64 in .*a\.parquet; write it in one type"),
        (rows(2, features=[["x"]]), r"b\.parquet: column features is list"),
        (rows(2).drop_columns("label"), "column label lacks 1 value"),
        (rows(1), "column id are not unique"),
        (rows(2).append_column("id", [[3]]), r"b\.parquet: has more than one column id"),
    ],
)
def test_types_that_do_not_fit_are_refused_with_the_file_and_the_column(
    tmp_path: Path, second: pa.Table, problem: str
) -> None:
    write(tmp_path / "all/a.parquet", rows(1))
    write(tmp_path / "all/b.parquet", second)
    with pytest.raises(DataInvalid, match=problem) as refusal:
        read_table(str(tmp_path / "all"), make_fields())
    assert len(str(refusal.value).splitlines()) == 1


def test_other_columns_may_differ(tmp_path: Path) -> None:
    write(tmp_path / "all/a.parquet", rows(1, note=["x"]))
    write(tmp_path / "all/b.parquet", rows(2, note=[7]))
    assert read_table(str(tmp_path / "all"), make_fields()).ids.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("none", "cannot be read .*No such file"),
        ("none*", "has no files of a table"),
        ("empty", "has no files of a table"),
        ("csv", r"part\.csv: is of no known format; give a \.parquet"),
        ("cut", r"x\.parquet: cannot be read"),
    ],
)
def test_what_is_not_a_table_is_refused_by_its_file(tmp_path: Path, place: str, problem: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "csv/a.parquet", rows(1))
    (tmp_path / "csv/part.csv").write_text("id\n1\n")
    write(tmp_path / "cut/x.parquet", rows(1))
    (tmp_path / "cut/x.parquet").write_bytes((tmp_path / "cut/x.parquet").read_bytes()[:-9])
    with pytest.raises(DataInvalid, match=problem):
        read_table(str(tmp_path / place), make_fields())


def test_a_setting_may_list_files_from_its_own_folder_or_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "run.yaml").write_text(
        "model: {name: logistic}\ndata: {train: [a.parquet, ~/b.parquet, 's3://bucket/c'], test: d.parquet}"
    )
    config = Config.load(tmp_path / "run.yaml")
    assert str(config.data.train).split("\n") == [
        f"{tmp_path}/a.parquet",
        f"{tmp_path}/home/b.parquet",
        "s3://bucket/c",
    ]
    assert Config.parse(config.tree()) == config
    assert [demand.value for demand in demands_of(config) if demand.setting == "data.train"] == ["s3://bucket/c"]


class RayTensors(pa.ExtensionType):  # type: ignore[misc]
    """What Ray Data registers when it is imported."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        super().__init__(pa.large_list(pa.float64()), "ray.data.arrow_tensor_v2")

    def __arrow_ext_serialize__(self) -> bytes:
        return str(list(self.shape)).encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> "RayTensors":
        return cls(tuple(eval(serialized)))


@pytest.mark.parametrize("is_registered", [False, True], ids=["before import ray.data", "after it"])
def test_tensors_of_ray_data_have_their_shape(tmp_path: Path, is_registered: bool) -> None:
    images = np.arange(12.0).reshape(2, 3, 2)
    storage = pa.array(images.reshape(2, 6).tolist(), pa.large_list(pa.float64()))
    tensors = pa.ExtensionArray.from_storage(RayTensors((3, 2)), storage)
    write(tmp_path / "a.parquet", rows(1, 2, features=tensors))
    if is_registered:
        pa.register_extension_type(RayTensors((1,)))
    try:
        assert isinstance(pq.read_table(tmp_path / "a.parquet")["features"].type, RayTensors) == is_registered
        np.testing.assert_array_equal(read_table(str(tmp_path / "a.parquet"), make_fields()).features, images)
    finally:
        if is_registered:
            pa.unregister_extension_type("ray.data.arrow_tensor_v2")


@pytest.mark.parametrize(("shapes", "problem"), [([[2, 1]] * 2, ""), ([[2, 1], [1, 2]], "differ in shape")])
def test_tensors_of_variable_shape_are_read_if_they_have_one(tmp_path: Path, shapes: Any, problem: str) -> None:
    storage = pa.array([{"data": [1.0, 2.0], "shape": shape} for shape in shapes])
    table = rows(1, 2, features=storage)
    field = table.schema.field("features").with_metadata(
        {"ARROW:extension:name": "ray.data.arrow_variable_shaped_tensor", "ARROW:extension:metadata": "2"}
    )
    write(tmp_path / "a.parquet", table.set_column(2, field, table["features"]))
    if problem:
        with pytest.raises(DataInvalid, match=problem):
            read_table(str(tmp_path / "a.parquet"), make_fields())
    else:
        assert read_table(str(tmp_path / "a.parquet"), make_fields()).array.tolist() == [[[1.0], [2.0]]] * 2
