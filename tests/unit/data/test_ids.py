"""The ids of a request, from files and from callers."""

import io
import sys
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raymu.core.records import SampleId
from raymu.data import ids as ids_module
from raymu.data.ids import as_sample_ids
from raymu.errors import DataInvalid, RequestInvalid


def read_ids(path: str) -> list[SampleId]:
    return list(ids_module.read_ids(path).values)


READ: dict[str, tuple[str, bytes, list[str]]] = {
    "one a line": ("ids.txt", b"17\n4021\n", ["17", "4021"]),
    "no newline at the end": ("ids", b"17\n4021", ["17", "4021"]),
    "blank lines and spaces": ("ids.txt", b"\n 17 \r\n\n\t4021\n \n", ["17", "4021"]),
    "a byte order mark": ("ids.txt", b"\xef\xbb\xbf17\n4021\n", ["17", "4021"]),
    "nothing": ("ids.txt", b"", []),
    "text with spaces, commas and accents": ("ids.txt", "a b,c\nZoë\n".encode(), ["a b,c", "Zoë"]),
    "a column called id": ("ids.csv", b"name,id\nanna,007\nzoe,NA\n", ["007", "NA"]),
    "the only column": ("ids.csv", b"id\n007\n1e3\n", ["007", "1e3"]),
    "a quoted column": ("ids.csv", b'"id"\n"a,b"\n"c"\n', ["a,b", "c"]),
    "a column behind a byte order mark": ("ids.csv", b"\xef\xbb\xbfid,name\r\n17,anna\r\n\r\n", ["17"]),
    "a header with space and blank lines above it": ("ids.csv", b"\n , \n name , id \nanna,17\n", ["17"]),
    "a value over two lines": ("ids.csv", b'name,id\n"anna\nmaria",17\n', ["17"]),
    "a header in upper case": ("IDS.CSV", b"Name;ID\nanna;17\n", ["17"]),
    "tabs": ("ids.tsv", b"id\tname\n17\tanna\n", ["17"]),
    "a table that is called text": ("ids.txt", b"name;Id\nanna;17\nzoe;18\n", ["17", "18"]),
    "a table without an ending": ("ids", b"id,name\n17,anna\n", ["17"]),
    "text with a name above it": ("ids.txt", b"ID\n17\n18\n", ["17", "18"]),
    "UTF-16": ("ids.txt", "17\r\nZoë\r\n".encode("utf-16"), ["17", "Zoë"]),
    "UTF-16 without a byte order mark": ("ids.csv", "id\r\n17\r\n".encode("utf-16-le"), ["17"]),
    "Windows-1252": ("ids.txt", "Jürgen\n".encode("cp1252"), ["Jürgen"]),
    "quotes": ("ids.txt", b'"17"\n"a ""b"""\n', ["17", 'a "b"']),
    "pandas with its index": ("ids.csv", b",id\n0,17\n1,18\n", ["17", "18"]),
    "JSON lines": ("ids.jsonl", b'{"id": 17, "x": [1]}\n{"id": "p18"}\n', ["17", "p18"]),
    "JSON lines of values": ("ids.jsonl", b'17\n"p18"\n', ["17", "p18"]),
    "a JSON list": ("ids.json", b"[17, 18446744073709551615]", ["17", "18446744073709551615"]),
    "a header alone": ("ids.csv", b"id\n", []),
    "an empty table": ("ids.csv", b"", []),
}


@pytest.mark.parametrize(("name", "content", "ids"), READ.values(), ids=READ)
def test_ids_are_read_as_they_are_written(tmp_path: Path, name: str, content: bytes, ids: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_ids(str(tmp_path / name)) == ids


@pytest.mark.parametrize("case", READ)
def test_ids_are_read_from_standard_input(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    name, content, ids = READ[case]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    if case != "JSON lines of values" and not (name.endswith("csv") and not content.strip()):
        assert read_ids("-") == ids


NOT_GUESSED: dict[str, tuple[str, bytes, str]] = {
    "owners": (
        "ids.csv",
        b"owner\nanna\n",
        "has a column owner alone, which is not called id; name .* as --owner-file",
    ),
    "owners as text": ("ids.txt", b"Owner\nanna\n", "has a column Owner alone, which is not called id"),
    "labels": ("ids.csv", b"label\n1\n", "begins with label, not with id"),
    "requests": (
        "ids.csv",
        b"id,due\n17,2030-01-31\n",
        "has a column due, as a table of requests; give it as --requests-file",
    ),
    "requests as text": ("ids", b"id;Key\n17;a\n", "has a column Key, as a table of requests"),
    "customers": ("ids.txt", b"customer_id\n17\n", "has a column customer_id alone, which is not called id"),
    "a gap": ("ids.csv", b"id,name\n17,anna\n,zoe\n", "line 3, row 2 has no id; fill it or drop the row"),
    "two columns of ids": ("ids.csv", b"ID,Id\n17,18\n", "has columns ID and Id, and either may be its id"),
    "a workbook": ("ids.xlsx", b"PK\x03\x04", "it is an Excel workbook"),
}


@pytest.mark.parametrize("case", NOT_GUESSED)
def test_what_may_be_something_else_is_not_taken_for_ids(tmp_path: Path, case: str) -> None:
    name, content, problem = NOT_GUESSED[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestInvalid, match=problem):
        read_ids(str(tmp_path / name))


def test_owners_and_keys_are_read_like_ids(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id,Owner\n17,anna\n18,zoe\n")
    assert ids_module.read_owners(str(tmp_path / "people.csv")).values == ("anna", "zoe")
    (tmp_path / "people.txt").write_text("anna\nzoe\n")
    assert ids_module.read_owners(str(tmp_path / "people.txt")).values == ("anna", "zoe")
    (tmp_path / "ids.csv").write_text("id\n17\n")
    with pytest.raises(RequestInvalid, match=r"has a column id alone, which is not called owner; .* as --ids-file"):
        ids_module.read_owners(str(tmp_path / "ids.csv"))
    (tmp_path / "keys.csv").write_text("id,key\n17,DSR-7\n")
    assert ids_module.read_keys(str(tmp_path / "keys.csv")).values == ("DSR-7",)


@pytest.mark.parametrize("ids", [[17, 4021], ["007", "a b"]])
@pytest.mark.parametrize("columns", [("id",), ("name", "id"), ("sample",)])
def test_a_parquet_file_gives_its_id_column_or_its_only_one(
    tmp_path: Path, ids: list[SampleId], columns: tuple[str, ...]
) -> None:
    values = {name: ["anna", "zoe"] if name == "name" else ids for name in columns}
    pq.write_table(pa.table(values), tmp_path / "ids.parquet")
    assert read_ids(str(tmp_path / "ids.parquet")) == ids


CSV_REFUSED: dict[str, tuple[str, str]] = {
    "a short row": ("name,id\nanna,17\n\nzoe\n", "line 4 has 1 values for 2 columns"),
    "a row that is short behind the id": ("id,name\n17\n", "line 2 has 1 values for 2 columns"),
    "a long row": ("id\n17,4021\n", "line 2 has 2 values for 1 columns; put values with commas in quotes"),
    "an open quote": ('id\n"17\n4021\n', "cannot be read .*give text, CSV or Parquet"),
    "an endless value": ("id\n" + "9" * 200_000, "cannot be read .field larger than field limit"),
    "two id columns": ("id,id\n17,4021\n", "several columns called id; rename or drop"),
}


@pytest.mark.parametrize(("content", "problem"), CSV_REFUSED.values(), ids=CSV_REFUSED)
def test_a_table_in_which_the_ids_are_not_clear_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "ids.csv").write_text(content)
    with pytest.raises(RequestInvalid, match=problem):
        read_ids(str(tmp_path / "ids.csv"))


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (pa.array([True]), "ids in column id are bool; they must be integers or strings"),
        (pa.array([17.5]), r"ids in column id: 17\.5 has a fraction"),
        (pa.array([[17]]), "ids in column id are list"),
        (pa.array([17, None]), "column id lacks 1 value"),
    ],
)
def test_a_parquet_column_of_something_else_is_refused(tmp_path: Path, ids: pa.Array, problem: str) -> None:
    pq.write_table(pa.table({"id": ids}), tmp_path / "ids.parquet")
    with pytest.raises(DataInvalid, match=problem):
        read_ids(str(tmp_path / "ids.parquet"))


def test_a_parquet_file_without_rows_or_columns_names_nothing(tmp_path: Path) -> None:
    for table in (pa.table({}), pa.table({"id": pa.array([], pa.int64())})):
        pq.write_table(table, tmp_path / "ids.parquet")
        assert read_ids(str(tmp_path / "ids.parquet")) == []


@pytest.mark.parametrize("name", ["ids.txt", "ids.csv", "ids.parquet"])
def test_a_directory_is_not_a_file_of_ids(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    pq.write_table(pa.table({"id": [17]}), tmp_path / name / "part.parquet")
    with pytest.raises(RequestInvalid, match=r"cannot be read .*directory"):
        read_ids(str(tmp_path / name))


@pytest.mark.parametrize("name", ["ids.csv", "ids.parquet"])
def test_several_columns_without_an_id_are_refused(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    place.write_text("a,b\n1,2\n")
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"a": [1], "b": [2]}), place)
    with pytest.raises(RequestInvalid, match="several columns and none is called id"):
        read_ids(str(place))


@pytest.mark.parametrize("first", ["17", "alice", "sample", "a\u2028b"])
def test_a_table_without_a_header_is_refused_since_its_first_id_would_be_lost(tmp_path: Path, first: str) -> None:
    (tmp_path / "ids.csv").write_text(f"{first}\nbob\n")
    with pytest.raises(RequestInvalid, match=r"begins with .*, not with id; write id above the ids") as refusal:
        read_ids(str(tmp_path / "ids.csv"))
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["ids.txt", "ids.csv", "ids.parquet"])
def test_a_missing_or_binary_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestInvalid, match=rf"{name}: cannot be read .*give text, CSV or Parquet"):
        read_ids(str(tmp_path / name))
    (tmp_path / name).write_bytes(b"\xff\xfe\x00binary\x80\x00")
    with pytest.raises(RequestInvalid, match=rf"{name}: cannot be read"):
        read_ids(str(tmp_path / name))


@given(numbers=st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integer_ids_may_come_as_text(numbers: list[int]) -> None:
    assert as_sample_ids(numbers, integers=True) == numbers
    assert as_sample_ids([str(number) for number in numbers], integers=True) == numbers


@pytest.mark.parametrize("text", ["007", "+7", " 7\t"])
def test_an_integer_may_be_written_with_a_sign_zeros_and_space(text: str) -> None:
    assert as_sample_ids([text, *np.array([7], dtype=np.int32)], integers=True) == [7, 7]


@given(
    ids=st.lists(
        st.integers(-(2**200), 2**200) | st.text(max_size=5).filter(lambda text: text.strip("\0 ") == text != "")
    )
)
def test_string_ids_may_come_as_integers(ids: list[SampleId]) -> None:
    assume(all(str(sample_id).strip() == str(sample_id) for sample_id in ids))
    assert as_sample_ids(ids, integers=False) == [str(sample_id) for sample_id in ids]


UUID_TEXT = "550e8400-e29b-41d4-a716-446655440000"
FORMS: dict[str, tuple[object, SampleId]] = {
    "a whole float": (7.0, 7),
    "a whole float as pandas writes it": ("7.0", 7),
    "a decimal": (Decimal("7.00"), 7),
    "an unsigned integer": (np.uint64(7), 7),
    "bytes": (b"7", 7),
    "padded text": ("7   ", 7),
    "a UUID": (UUID(UUID_TEXT), UUID_TEXT),
    "a UUID in upper case": (UUID_TEXT.upper(), UUID_TEXT),
    "16 bytes": (UUID(UUID_TEXT).bytes, UUID_TEXT),
    "an integer beyond 64 bits": (2**70, str(2**70)),
    "text in blanks": (" anna ", "anna"),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_id_may_come_in_any_form_that_a_column_has(form: str) -> None:
    value, kept = FORMS[form]
    assert as_sample_ids([value], integers=isinstance(kept, int)) == [kept]


@pytest.mark.parametrize(
    "value", ["seven", "", "7.5", "7.0e0", 7.5, float("nan"), None, True, b"", "1_0", "\u0667", "7 8", "9" * 5000]
)
def test_only_integers_are_ids_of_a_run_with_integer_ids(value: SampleId) -> None:
    with pytest.raises(RequestInvalid, match="not an id of this run, whose ids are integers"):
        as_sample_ids([1, value], integers=True)


@pytest.mark.parametrize("value", [7.5, None, True, b"", ["7"], ""])
def test_only_strings_and_integers_are_ids_of_a_run_with_string_ids(value: SampleId) -> None:
    with pytest.raises(RequestInvalid, match="not an id of this run: ids are integers or strings"):
        as_sample_ids(["a", value], integers=False)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, str(2**64)])
def test_an_integer_beyond_64_bits_is_not_an_id(value: SampleId) -> None:
    with pytest.raises(RequestInvalid, match="does not fit 64 bits"):
        as_sample_ids([value], integers=True)
