"""The index of pandas is where pandas reads it, and another column is never taken for it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from raymu.config import DataConfig
from raymu.core.records import SampleId
from raymu.data import ids as ids_module
from raymu.data.tables import read_features, read_table
from raymu.errors import DataInvalid, RequestInvalid
from raymu.service.requests.table import read_requests


def read_ids(path: str, data: DataConfig | None = None) -> list[SampleId]:
    return list(ids_module.read_ids(path, data).values)


def with_index(table: pa.Table, *levels: object) -> pa.Table:
    """Return a table with the metadata that pandas 3 writes for an index of these levels."""
    metadata = {"index_columns": levels, "columns": [], "column_indexes": [], "pandas_version": "3.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(metadata)})


def range_index(name: str | None, start: int = 17, stop: int = 25, step: int = 4) -> dict[str, Any]:
    return {"kind": "range", "name": name, "start": start, "stop": stop, "step": step}


TICKETS = pa.table({"ticket": [101, 102]})
READ: dict[str, tuple[pa.Table, list[int]]] = {
    "a range": (with_index(TICKETS, range_index("id")), [17, 21]),
    "a range that falls": (with_index(TICKETS, range_index("id", 21, 13, -4)), [21, 17]),
    "a range of no rows": (with_index(TICKETS[:0], range_index("id", 0, 0, 1)), []),
    "an index with a name, which is a column": (with_index(TICKETS.append_column("id", [[17, 21]]), "id"), [17, 21]),
    "an index of two levels": (with_index(TICKETS.append_column("id", [[17, 21]]), "ticket", "id"), [17, 21]),
    "the default index": (with_index(TICKETS, range_index(None, 0, 2, 1)), [101, 102]),
    "metadata of another program": (TICKETS.replace_schema_metadata({"pandas": "[7]"}), [101, 102]),
}


@pytest.mark.parametrize(("table", "ids"), READ.values(), ids=READ)
def test_ids_are_read_where_pandas_reads_them(tmp_path: Path, table: pa.Table, ids: list[int]) -> None:
    pq.write_table(table, tmp_path / "ids.parquet")
    assert read_ids(str(tmp_path / "ids.parquet")) == ids


REFUSED: dict[str, tuple[pa.Table, str]] = {
    "an index without a name": (
        with_index(TICKETS.append_column("__index_level_0__", [[17, 21]]), "__index_level_0__"),
        "none is called id",
    ),
    "an index without a name alone": (
        with_index(pa.table({"__index_level_0__": [17, 21]}), "__index_level_0__"),
        "the ids may be the index __index_level_0__",
    ),
    "an index that was dropped": (with_index(TICKETS, "id"), "the ids may be the index id that pandas left out"),
    "a range of other rows": (with_index(TICKETS, range_index("id", 0, 9, 1)), "index id has 9 rows, and the table 2"),
    "the run's owners": (pa.table({"customer": [1, 2]}), "a column customer alone, which is not called id"),
    "the run's labels": (pa.table({"class": [1, 2]}), "a column class alone"),
    "owners": (pa.table({"owner": [1, 2]}), "a column owner alone"),
}


@pytest.mark.parametrize(("table", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_column_that_may_be_something_else_is_not_taken_for_ids(
    tmp_path: Path, table: pa.Table, problem: str
) -> None:
    pq.write_table(table, tmp_path / "ids.parquet")
    data = DataConfig(train="all.parquet", owner="customer", label="class")
    with pytest.raises(RequestInvalid, match=problem):
        read_ids(str(tmp_path / "ids.parquet"), data)


def test_a_column_with_the_runs_name_of_ids_comes_first(tmp_path: Path) -> None:
    data = DataConfig(train="all.parquet", id="user")
    pq.write_table(pa.table({"id": [1, 2], "user": [17, 21]}), tmp_path / "ids.parquet")
    (tmp_path / "ids.csv").write_text("user\n17\n21\n")
    assert read_ids(str(tmp_path / "ids.parquet"), data) == [17, 21]
    assert read_ids(str(tmp_path / "ids.csv"), data) == ["17", "21"]


def test_a_table_of_requests_has_its_ids_in_the_index(tmp_path: Path) -> None:
    table = with_index(pa.table({"key": ["a", "b"]}), range_index("id"))
    pq.write_table(table, tmp_path / "requests.parquet")
    assert [revocation.ids for revocation in read_requests(str(tmp_path / "requests.parquet")).revocations] == [
        (17,),
        (21,),
    ]


@pytest.mark.parametrize("name", ["all.parquet", "all.feather"])
def test_samples_to_train_and_to_predict_have_their_ids_in_the_index(tmp_path: Path, name: str) -> None:
    features = pa.FixedSizeListArray.from_arrays(pa.array([0.0, 1.0, 2.0, 3.0]), 2)
    table = with_index(pa.table({"label": [0, 1], "features": features}), range_index("id"))
    path = str(tmp_path / name)
    pq.write_table(table, path) if name.endswith("parquet") else feather.write_feather(table, path)
    fields = DataConfig(train=path)
    assert read_table(path, fields).ids.tolist() == [17, 21]
    ids = read_features(path, fields).ids
    assert ids is not None
    assert ids.tolist() == [17, 21]


def test_a_range_that_is_longer_than_its_table_is_refused_as_training_data(tmp_path: Path) -> None:
    features = pa.FixedSizeListArray.from_arrays(pa.array([0.0, 1.0]), 1)
    table = with_index(pa.table({"label": [0, 1], "features": features}), range_index("id", 0, 10**18, 1))
    pq.write_table(table, tmp_path / "all.parquet")
    with pytest.raises(DataInvalid, match="write the index as a column"):
        read_table(str(tmp_path / "all.parquet"), DataConfig(train="all.parquet"))
