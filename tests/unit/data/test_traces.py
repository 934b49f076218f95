"""Traces from users' files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.planning.trace import Trace, TracedRequest
from raymu.core.records import SampleId
from raymu.data.traces import read_trace, write_trace
from raymu.errors import RaymuError, TraceInvalid


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@st.composite
def traces(draw: st.DrawFn, ids: st.SearchStrategy[SampleId]) -> Trace:
    requests = []
    for at_s in draw(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=6).map(sorted)):
        if draw(st.booleans()):
            requests.append(TracedRequest(at_s=at_s, ids=tuple(draw(st.lists(ids, min_size=1, max_size=4)))))
        else:
            owner = draw(st.text("abc 01,\"'", min_size=1))
            requests.append(TracedRequest(at_s=at_s, owner=owner))
    return Trace(requests=tuple(requests))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@given(data=st.data())
def test_a_trace_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, suffix: str, data: Any) -> None:
    path = str(tmp_path_factory.mktemp("trace") / f"trace.{suffix}")
    integers = data.draw(st.booleans())
    trace = data.draw(traces(st.integers(-(2**63), 2**63 - 1) if integers else st.text("a0,\"'", min_size=1)))
    write_trace(trace, path)
    assert read_trace(path, integers=integers) == trace


def test_rows_of_one_request_name_its_samples_and_an_owner_is_a_request_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "at,request,id,owner,why\n0,a,7,,x\n0,b,,ann,\n0,a,8,,y\n2.5,c,007,,\n")
    assert read_trace(path, integers=True) == Trace(
        requests=(
            TracedRequest(at_s=0.0, ids=(7, 8)),
            TracedRequest(at_s=0.0, owner="ann"),
            TracedRequest(at_s=2.5, ids=(7,)),
        )
    )
    assert read_trace(path, integers=False).requests[2].ids == ("007",)


def test_without_a_request_column_each_row_is_a_request(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "id,at\n7,1\n8,1\n")
    assert [request.ids for request in read_trace(path, integers=True).requests] == [(7,), (8,)]


@pytest.mark.parametrize(
    "times", ["2026-05-01T10:00:00Z,2026-05-01T10:01:30Z", "2026-05-01 10:00:00.25,2026-05-01 10:01:30.25"]
)
def test_timestamps_count_from_the_first_row(tmp_path: Path, times: str) -> None:
    first, second = times.split(",")
    path = written(tmp_path / "t.csv", f"at,id\n{first},1\n{second},2\n")
    assert [request.at_s for request in read_trace(path, integers=True).requests] == [0.0, 90.0]


def test_timestamps_of_any_zone_and_unit_are_read_from_parquet(tmp_path: Path) -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    for unit in ("s", "ms", "us", "ns"):
        at = pa.array([start, start + timedelta(hours=2)], type=pa.timestamp(unit, tz="Europe/Berlin"))
        pq.write_table(pa.table({"at": at, "id": [1, 2]}), tmp_path / "t.parquet")
        assert [request.at_s for request in read_trace(str(tmp_path / "t.parquet"), integers=True).requests] == [
            0.0,
            7200.0,
        ]


def test_missing_values_of_pandas_and_integers_beside_them_are_read_from_parquet(tmp_path: Path) -> None:
    nothing = float("nan")
    columns = {"at": [0, 0, 1], "id": [7.0, 8.0, nothing], "owner": [nothing, nothing, 3.0], "request": [1.0, 1.0, 2.0]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert read_trace(str(tmp_path / "t.parquet"), integers=True) == Trace(
        requests=(TracedRequest(at_s=0.0, ids=(7, 8)), TracedRequest(at_s=1.0, owner=3))
    )


def test_times_may_be_unix_seconds(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "at,id\n1700000000,1\n1700000060.5,2\n")
    assert [request.at_s for request in read_trace(path, integers=True).requests] == [1.7e9, 1.7e9 + 60.5]


REFUSED = {
    "no file": (None, "cannot be read"),
    "an empty file": ("", "cannot be read"),
    "no rows": ("at,id\n", "the trace has no requests"),
    "no time": ("when,id\n1,2\n", "has columns when, id; a trace has at, and id or owner"),
    "nobody": ("at\n1\n", "has columns at; a trace has"),
    "times out of order": ("at,id\n5,1\n3,2\n", "row 2 is 2 s before the row above it; sort the rows by at"),
    "timestamps out of order": ("at,id\n2026-05-01,1\n2026-04-30,2\n", "row 2 is 86400 s before"),
    "a column twice": ("at,id,id\n1,2,3\n", "has several columns called id; rename or drop the others"),
    "milliseconds since 1970": ("at,id\n1700000000000,1\n", "times are seconds, and these look like milliseconds"),
    "a negative time": ("at,id\n-5,1\n", "seconds from 0 up"),
    "words for times": ("at,id\nsoon,1\n", "column at has text; times are seconds, or timestamps"),
    "a missing time": ("at,id\n1,1\n,2\n", "lacks 1 time"),
    "neither id nor owner": ("at,id,owner\n1,,\n", "row 1 must name an id, or an owner, and not both"),
    "both id and owner": ("at,id,owner\n1,2,ann\n", "row 1 must name an id, or an owner"),
    "a missing request": ("at,id,request\n1,2,\n", "row 1 lacks its request"),
    "a request at two times": ("at,id,request\n1,2,a\n2,3,a\n", "row 1 and others are one request, at different times"),
    "an owner among others": (
        "at,id,owner,request\n1,2,,a\n1,,ann,a\n",
        "row 1 and others are one request, with an owner",
    ),
    "no id of the run": ("at,id\n1,ann\n", "'ann' is not an id of this run"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_is_not_a_trace_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    text, message = REFUSED[case]
    path = str(tmp_path / "t.csv") if text is None else written(tmp_path / "t.csv", text)
    with pytest.raises(RaymuError, match=message) as refusal:
        read_trace(path, integers=True)
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_unknown_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceInvalid, match=r"give a \.csv or a \.parquet file"):
        read_trace(str(tmp_path / "t.txt"), integers=True)
    with pytest.raises(TraceInvalid, match=r"name a \.parquet or a \.csv file"):
        write_trace(Trace(requests=(TracedRequest(at_s=0.0, ids=(1,)),)), str(tmp_path / "t.txt"))
    with pytest.raises(TraceInvalid, match="cannot be written"):
        write_trace(Trace(requests=(TracedRequest(at_s=0.0, ids=(1,)),)), str(tmp_path / "nowhere" / "t.csv"))
