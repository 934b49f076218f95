"""Tables as privacy tools, spreadsheets, databases and pandas write them."""

import io
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from raymu.config import DataConfig
from raymu.data.date_text import DayOrder
from raymu.errors import RequestInvalid
from raymu.service.requests.table import RequestRows, read_requests


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def summary(rows: RequestRows) -> list[tuple[object, ...]]:
    """Return the id or the owner of each request, its key, and its due date."""
    return [
        (each.ids[0] if each.ids else each.owner, each.key, str(each.due) if each.due else None)
        for each in rows.revocations
    ]


END = "23:59:59+01:00"
TABLES: dict[str, tuple[bytes, list[tuple[object, ...]]]] = {
    "a privacy tool's export of data subjects": (
        b"Request ID,Request Type,Data Subject ID,Status,Date Created,Deadline\n"
        b'REQ-1,Deletion,c-17,Open,11/05/2026,12/05/2026\nREQ-2,Deletion,c-18,"In review, late",11/20/2026,12/20/2026\n',
        [("c-17", None, f"2026-12-05 {END}"), ("c-18", None, f"2026-12-20 {END}")],
    ),
    "a privacy tool's export with times in UTC": (
        b'"Ticket","Owner ID","Due At","Region"\n"T1","u-1","2026-12-05T12:00:00.000Z","EU"\n"T2","u-2","","US"\n',
        [("u-1", None, "2026-12-05 12:00:00+00:00"), ("u-2", None, None)],
    ),
    "a warehouse's export": (
        b"user_id\tdue_date\nu-1\t2026-12-05 12:00:00 UTC\nu-2\t2026-12-06 00:00:00 UTC\n",
        [("u-1", None, "2026-12-05 12:00:00+00:00"), ("u-2", None, "2026-12-06 00:00:00+00:00")],
    ),
    "PostgreSQL's COPY": (
        b"id|due|key\n17|2026-12-05 12:00:00+00|k1\n18||k2\n",
        [("17", "k1", "2026-12-05 12:00:00+00:00"), ("18", "k2", None)],
    ),
    "German Excel": (
        "ID;Owner;Due;Bemerkung\r\n17;;05.12.2026;Müller, dringend\r\n;Jürgen Groß;31.12.2026;\r\n;;;\r\n".encode(
            "cp1252"
        ),
        [("17", None, f"2026-12-05 {END}"), ("Jürgen Groß", None, f"2026-12-31 {END}")],
    ),
    "German Excel, as UTF-8 with empty columns at the right": (
        "\ufeffsep=;\r\nID;Due;;\r\n17;31.12.2026;;\r\n".encode(),
        [("17", None, f"2026-12-31 {END}")],
    ),
    "text that Excel must not make a number of": (
        b'id,due\n="017",2026-12-05\n"=""018""",NULL\n',
        [("017", None, f"2026-12-05 {END}"), ("018", None, None)],
    ),
    "US Excel": (
        b"\xef\xbb\xbfId,Key,Due Date\r\n17,a,12/5/2026\r\n18,b,12/31/2026 5:00 PM\r\n",
        [("17", "a", f"2026-12-05 {END}"), ("18", "b", "2026-12-31 17:00:00+01:00")],
    ),
    "Excel's Unicode text": (
        "Owner\tDue\nZoë\t2026-12-05\n".encode("utf-16"),
        [("Zoë", None, f"2026-12-05 {END}")],
    ),
    "UTF-16 without a byte order mark": (
        "id,due\n17,2026-12-05\n".encode("utf-16-le"),
        [("17", None, f"2026-12-05 {END}")],
    ),
    "an old Macintosh": (b"id,key\r17,a\r18,b\r", [("17", "a", None), ("18", "b", None)]),
    "pandas with its index": (
        b",id,owner,due\n0,17.0,,2026-12-05\n1,,zoe,\n",
        [("17.0", None, f"2026-12-05 {END}"), ("zoe", None, None)],
    ),
    "pandas with a saved index": (b"Unnamed: 0,id\n0,17\n1,18\n", [("17", None, None), ("18", None, None)]),
    "JSON lines": (
        b'{"id": 17, "due": "2026-12-05", "meta": {"tool": "x"}}\n{"owner": "zoe", "key": 7}\n',
        [("17", None, f"2026-12-05 {END}"), ("zoe", "7", None)],
    ),
    "a JSON list": (b'[{"id": "p17"}, {"id": "p18", "due": null}]', [("p17", None, None), ("p18", None, None)]),
    "a web service": (b"sampleId,dueDate\n17,2026-12-05\n", [("17", None, f"2026-12-05 {END}")]),
    "a mail's date": (b'id;due\n17;"Sat, 05 Dec 2026 12:00:00 +0000"\n', [("17", None, "2026-12-05 12:00:00+00:00")]),
    "midnight throughout": (
        b"id,due\n17,2026-12-05 00:00:00\n18,2026-12-06 00:00:00\n",
        [("17", None, f"2026-12-05 {END}"), ("18", None, f"2026-12-06 {END}")],
    ),
}


@pytest.mark.parametrize("name", ["t.csv", "T.CSV", "t.tsv", "t.txt", "export", "-"])
@pytest.mark.parametrize("tool", TABLES)
def test_a_table_of_a_tool_is_read_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, name: str
) -> None:
    content, requests = TABLES[tool]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    path = name if name == "-" else str(tmp_path / name)
    if name != "-":
        Path(path).write_bytes(content)
    assert summary(read_requests(path)) == requests


NOTES = {
    b"id,Status,Name,due\n17,Open,x,31.12.2026\n18,,y,05.06.2026\n": [
        "column due: the day is read first in all dates, as 31.12.2026 shows",
        "columns Status, Name are not used",
    ],
    b"id,note\n17,x\n": ["column note is not used"],
    b",id\n0,17\n": [],
    b"id;due\n17;31.12.2026\n": [],
    "owner\nJürgen\n".encode("cp1252"): ["is not UTF-8, and was read as Windows-1252, as spreadsheets write"],
}


@pytest.mark.parametrize("content", NOTES)
def test_what_was_concluded_and_left_out_is_said_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    rows = read_requests(str(tmp_path / "t.csv"))
    assert rows.notes == tuple(f"{tmp_path}/t.csv: {note}" for note in NOTES[content])


REFUSED = {
    b"id,due\n17,03.04.2026\n": "line 2, row 1: due 03.04.2026 may be 3 April or 4 March: give --date-format day-first",
    b"id,due\n17,31.12.2026\n18,12/31/2026\n": "line 3, row 2: due 31.12.2026 and 12/31/2026 have day and month in different",
    b"id,due\n17,46361\n": "line 2, row 1: due 46361 may be a date as Excel counts days; format the column as yyyy-mm-dd",
    b"id,due\n17,infinity\n": "line 2, row 1: due infinity has no end; leave it out",
    b"id,due\n\n17,2026-01-01\n18,1e300\n": "line 4, row 2: due '1e300' is not a time",
    b"id,strategy\n17,magic\n": "line 2, row 1: 'magic' is not a strategy; choose among sisa, dpus, hs, ohs; nothing was",
    b"id;boundary\n17;0,35\n": "line 2, row 1: ",
    b"id,boundary\n17,0.3\n18,1e300\n": "line 3, row 2: boundary",
    b"Ticket,Email\nT1,a@example.com\n": "neither a column id nor owner (its columns: Ticket, Email); a table of",
    b"17,anna\n18,zoe\n": "neither a column id nor owner (its columns: 17, anna)",
    b"id,ID\n17,18\n": "has columns id and ID, and either may be its id; rename or drop the other",
    b"id,sample_id\n17,18\n": "has columns id and sample_id, and either may be its id",
    b"id,due,deadline\n17,2026-01-01,2026-02-01\n": "has columns due and deadline, and either may be its due",
    b"ID,Data Subject ID\nREQ-1,c-17\n": "has columns ID and Data Subject ID, and either may name what to revoke",
    b"ids\n17\n": "has a column 'ids'; did you mean id?",
    b"id,own\xe9r\n17,x\n": "did you mean owner?",
    b"PK\x03\x04\x14\x00": "it is an Excel workbook or an archive; save the sheet as CSV",
    b"\x1f\x8b\x08\x00": "it is compressed; unpack it first",
    b"id\n17\x00\x00\x81\n": "cannot be read",
    b'{"id": 17}\n{"id": \n': "cannot be read",
    b"[" * 10_000: "cannot be read",
    b"": "has neither a column id nor owner (its columns: none)",
    b"id,due\n": "holds no requests",
}


@pytest.mark.parametrize("content", REFUSED)
def test_what_is_not_clear_is_refused_in_one_line_that_says_where(tmp_path: Path, content: bytes) -> None:
    name = "t.jsonl" if content[:1] in b"[{" and content else "t.csv"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestInvalid) as refusal:
        read_requests(str(tmp_path / name))
    assert REFUSED[content] in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_the_form_of_the_dates_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,due\n17,03.04.2026\n")
    day_first = read_requests(str(tmp_path / "t.csv"), date_format=DayOrder.DAY_FIRST)
    assert summary(day_first) == [("17", None, "2026-04-03 23:59:59+02:00")]
    american = read_requests(str(tmp_path / "t.csv"), date_format="%m.%d.%Y")
    assert summary(american) == [("17", None, "2026-03-04 23:59:59+01:00")]


def test_strategies_and_boundaries_may_be_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,strategy,boundary\n17,SISA,\n18,,30s\n19,hs,0.2\n")
    rows = read_requests(str(tmp_path / "t.csv"), strategy="dpus", boundary=0.5).revocations
    assert [(each.strategy, each.boundary) for each in rows] == [("sisa", 0.5), ("dpus", "30s"), ("hs", "0.2")]


def test_the_runs_own_names_of_columns_come_first(tmp_path: Path) -> None:
    data = DataConfig(train="all.parquet", id="record", owner="customer")
    (tmp_path / "t.csv").write_text("id,Customer,RECORD\n1,,17\n2,c-1,\n")
    assert summary(read_requests(str(tmp_path / "t.csv"), data)) == [("17", None, None), ("c-1", None, None)]


WRITERS: dict[str, Callable[[pa.Table, str], object]] = {
    "t.parquet": pq.write_table,
    "T.PARQUET": pq.write_table,
    "t.parq": pq.write_table,
    "t.feather": feather.write_feather,
    "export": pq.write_table,
}
UUID_TEXT = "550e8400-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize("name", WRITERS)
def test_a_binary_table_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    table = pa.table({"Owner_ID": ["zoe", "anna"], "Due": [date(2026, 12, 5), None], "more": [1, 2]})
    WRITERS[name](table, str(tmp_path / name))
    assert summary(read_requests(str(tmp_path / name))) == [("zoe", None, f"2026-12-05 {END}"), ("anna", None, None)]


def test_an_arrow_stream_is_read(tmp_path: Path) -> None:
    table = pa.table({"id": [17]})
    with ipc.new_stream(str(tmp_path / "t"), table.schema) as stream:
        stream.write_table(table)
    assert summary(read_requests(str(tmp_path / "t"))) == [(17, None, None)]


FORMS: dict[str, tuple[pa.Array, object]] = {
    "UUIDs": (pa.array([UUID(UUID_TEXT).bytes, None], type=pa.uuid()), UUID_TEXT),
    "16 bytes": (pa.array([UUID(UUID_TEXT).bytes, None], type=pa.binary(16)), UUID_TEXT),
    "decimals": (pa.array([Decimal("17.00"), None]), 17),
    "unsigned integers beyond 63 bits": (pa.array([2**64 - 1, None], type=pa.uint64()), str(2**64 - 1)),
    "categories": (pa.array(["p17", None]).dictionary_encode(), "p17"),
    "string views": (pa.array(["p17", None], type=pa.string_view()), "p17"),
    "padded text": (pa.array(["p17   ", None]), "p17"),
    "floats": (pa.array([17.0, None]), 17),
}


@pytest.mark.parametrize("form", FORMS)
def test_ids_come_in_any_form_beside_owners(tmp_path: Path, form: str) -> None:
    ids, kept = FORMS[form]
    pq.write_table(pa.table({"id": ids, "owner": [None, "zoe"]}), tmp_path / "t.parquet", store_schema=True)
    assert [each[0] for each in summary(read_requests(str(tmp_path / "t.parquet")))] == [kept, "zoe"]


def test_rows_of_nulls_are_left_out_and_others_keep_their_numbers(tmp_path: Path) -> None:
    due = pa.array([None, datetime(2026, 12, 5, 12, tzinfo=UTC)], type=pa.timestamp("ns", tz="UTC"))
    pq.write_table(pa.table({"id": pa.array([None, 17]), "due": due}), tmp_path / "t.parquet")
    rows = read_requests(str(tmp_path / "t.parquet"))
    assert (summary(rows), rows.rows, rows.lines) == ([(17, None, "2026-12-05 12:00:00+00:00")], (2,), None)


ODD_COLUMNS: dict[str, pa.Table] = {
    "lists": pa.table({"id": [[1], [2]]}),
    "structures": pa.table({"owner": [{"name": "zoe"}, None]}),
    "booleans": pa.table({"id": [True, False]}),
    "times beyond all years": pa.table({"id": pa.array([2**63 - 1], type=pa.timestamp("us"))}),
    "keys beyond all years": pa.table({"id": [17], "key": pa.array([2**63 - 1], type=pa.timestamp("us"))}),
    "boundaries without end": pa.table({"id": [17], "boundary": [float("inf")]}),
    "due times of a day": pa.table({"id": [17], "due": pa.array([1], type=pa.time32("s"))}),
}


@pytest.mark.parametrize("case", ODD_COLUMNS)
def test_a_column_of_something_else_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    pq.write_table(ODD_COLUMNS[case], tmp_path / "t.parquet")
    with pytest.raises(RequestInvalid, match="nothing was accepted") as refusal:
        read_requests(str(tmp_path / "t.parquet"))
    assert len(str(refusal.value).splitlines()) == 1
