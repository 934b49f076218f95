from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.errors import RequestInvalid
from raymu.service.requests import table
from raymu.service.requests.revocation import Revocation


def read_requests(path: str, **options: Any) -> list[Revocation]:
    return list(table.read_requests(path, **options).revocations)


DUE = datetime(2030, 1, 31, 12, tzinfo=UTC)


def write(folder: Path, text: str) -> str:
    path = folder / "requests.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_each_row_of_a_csv_is_a_request(tmp_path: Path) -> None:
    path = write(
        tmp_path, '\ufeffid,owner,key,due\r\n7,,k1,2030-01-31T12:00Z\r\n,"Zoë, M.",,\r\n 8 ,,"k,2",\r\n\r\n,,k3,\r\n'
    )
    assert read_requests(path, strategy="dpus", boundary=0.5, due=datetime(2031, 1, 1, tzinfo=UTC)) == [
        Revocation(ids=("7",), strategy="dpus", boundary=0.5, key="k1", due=DUE),
        Revocation(owner="Zoë, M.", strategy="dpus", boundary=0.5, due=datetime(2031, 1, 1, tzinfo=UTC)),
        Revocation(ids=("8",), strategy="dpus", boundary=0.5, key="k,2", due=datetime(2031, 1, 1, tzinfo=UTC)),
        Revocation(strategy="dpus", boundary=0.5, key="k3", due=datetime(2031, 1, 1, tzinfo=UTC)),
    ]


def test_each_row_of_a_parquet_table_is_a_request(tmp_path: Path) -> None:
    path = str(tmp_path / "requests.parquet")
    times = pa.array([DUE, None], type=pa.timestamp("ns", tz="UTC"))
    pq.write_table(pa.table({"id": [7, None], "owner": [None, "zoe"], "key": [1, None], "due": times}), path)
    assert read_requests(path) == [Revocation(ids=(7,), key="1", due=DUE), Revocation(owner="zoe")]


def test_missing_values_of_pandas_are_missing(tmp_path: Path) -> None:
    path = str(tmp_path / "requests.parquet")
    pq.write_table(pa.table({"id": [7.0, float("nan")], "owner": [None, "zoe"]}), path)
    revocations = read_requests(path)
    assert [(request.ids, request.owner) for request in revocations] == [((7,), None), ((), "zoe")]
    assert [type(sample_id) for sample_id in revocations[0].ids] == [int]


@pytest.mark.parametrize("value", [7.5, 2.0**60, float("inf")])
def test_a_fraction_is_not_read_as_an_integer(tmp_path: Path, value: float) -> None:
    path = str(tmp_path / "requests.parquet")
    pq.write_table(pa.table({"id": [value]}), path)
    assert read_requests(path) == [Revocation(ids=(value,))]  # type: ignore[arg-type]


def test_a_parquet_table_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([[7], [8]], names=["id", "id"]), tmp_path / "requests.parquet")
    with pytest.raises(RequestInvalid, match="several columns called id"):
        read_requests(str(tmp_path / "requests.parquet"))


def test_a_time_without_a_zone_is_local(tmp_path: Path) -> None:
    [revocation] = read_requests(write(tmp_path, "id,due\n7,2030-01-31T12:00\n"))
    assert revocation.due == datetime(2030, 1, 31, 12).astimezone()
    assert revocation.due is not None
    assert revocation.due.tzinfo is not None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has neither a column id nor owner"),
        ("id\n", "holds no requests"),
        ("key,due\nk,\n", "has neither a column id nor owner"),
        ("id,deu\n7,\n", "has a column 'deu'"),
        ("id,key\n7\n", "line 2 has 1 values for 2 columns"),
        ("id,key\n7,k\n8,k,2\n", "line 3 has 3 values for 2 columns"),
        ("id,due\n7,soon\n", "line 2, row 1: due 'soon' is not a time"),
        (f"id,key\n7,k\n8,{'k' * 300}\n", "line 3, row 2: a key of 300 letters is refused; .*; nothing was accepted"),
        ("id, id\n7,8\n", "has several columns called id; rename or drop the others"),
        ('id\n"7\n', "cannot be read"),
    ],
)
def test_an_invalid_table_of_requests_is_refused_as_a_whole(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(RequestInvalid, match=complaint):
        read_requests(write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requests.parquet").write_text("no Parquet")
    (tmp_path / "requests.csv").write_bytes(b"id\n\x81\n")
    for name in ("requests.parquet", "requests.csv", "absent.csv"):
        with pytest.raises(RequestInvalid, match=f"{name}: cannot be read"):
            read_requests(str(tmp_path / name))
