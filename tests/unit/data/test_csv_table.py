"""CSV files as spreadsheets and programs write them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from raymu.data.convert import ImportOptions, import_samples
from raymu.errors import DataInvalid


def imported(folder: Path, content: str | bytes, **options: Any) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """Convert a CSV file. Return the columns of the result, and what was recognised."""
    (folder / "a.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    result = import_samples(str(folder / "a.csv"), str(folder / "a.parquet"), ImportOptions(**options))
    return pq.read_table(folder / "a.parquet").to_pydict(), result.notes


PLAIN = "label,a,b\n1,0.5,2\n0,1.5,3\n"
HEADERS: dict[str, tuple[str, dict[str, Any], list[int], list[list[float]]]] = {
    "words": (PLAIN, {}, [1, 0], [[0.5, 2], [1.5, 3]]),
    "numbers and a word above numbers": ("0,1,label\n0.5,2,1\n1.5,3,0\n", {}, [1, 0], [[0.5, 2], [1.5, 3]]),
    "years and a word above numbers": (
        "2022,2023,churned\n.5,2,1\n1.5,3,0\n",
        {"label": "churned"},
        [1, 0],
        [[0.5, 2], [1.5, 3]],
    ),
    "none": ("0.5,2,1\n1.5,3,0\n", {"label": "-1"}, [1, 0], [[0.5, 2], [1.5, 3]]),
    "none, with a word": ("T,2,8\nI,5,12\nT,4,11\n", {"label": "1"}, [1, 0, 1], [[2, 8], [5, 12], [4, 11]]),
    "years, which is said": ("2022,2023,2024\n0.5,2,1\n", {"label": "-1", "has_header": True}, [1], [[0.5, 2]]),
    "no years, which is said": (
        "2022,2023,1\n2021,2,0\n",
        {"label": "-1", "has_header": False},
        [1, 0],
        [[2022, 2023], [2021, 2]],
    ),
    "words, which are said": (PLAIN, {"has_header": True}, [1, 0], [[0.5, 2], [1.5, 3]]),
    "quoted numbers": ('"label","a","b"\n"1","0.5","2"\n"0","1.5","3"\n', {}, [1, 0], [[0.5, 2], [1.5, 3]]),
    "blank lines": ("\n\r\n" + PLAIN + "\n\n", {}, [1, 0], [[0.5, 2], [1.5, 3]]),
}


@pytest.mark.parametrize(("content", "options", "labels", "features"), HEADERS.values(), ids=HEADERS)
def test_a_header_is_recognised(
    tmp_path: Path, content: str, options: dict[str, Any], labels: list[int], features: list[list[float]]
) -> None:
    columns, notes = imported(tmp_path, content, **options)
    assert (columns["label"], columns["features"], notes) == (labels, features, ())


@pytest.mark.parametrize(
    "content", ["2022,2023,2024\n1,2,3\n", "0,1,2\n1,2,3\n", "2022,2023,animal\n1,2,cat\n", "0,animal\n1,cat\n"]
)
def test_a_first_line_that_may_be_names_or_a_sample_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(
        DataInvalid, match=r"may be names of columns \(give --header\) or a sample \(give --no-header\)"
    ):
        imported(tmp_path, content, label="-1")


FORMS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "UTF-16": (PLAIN.encode("utf-16"), ()),
    "UTF-16, the other end first": (b"\xfe\xff" + PLAIN.encode("utf-16-be"), ()),
    "a byte order mark": (PLAIN.encode("utf-8-sig"), ()),
    "Windows": (
        PLAIN.replace("b\n", "gr\u00f6\u00dfe\n").encode("cp1252"),
        ("is not UTF-8, and was read as Windows-1252, as spreadsheets write",),
    ),
    "semicolons": (PLAIN.replace(",", ";").encode(), ()),
    "decimal commas": (PLAIN.replace(",", ";").replace(".", ",").encode(), ("commas are decimal signs",)),
    "tabs": (PLAIN.replace(",", "\t").encode(), ()),
    "bars": (PLAIN.replace(",", "|").encode(), ()),
    "carriage returns": (PLAIN.replace("\n", "\r\n").encode(), ()),
    "a separator at the end of each line": (
        b"label,a,b,\n1,0.5,2,\n0,1.5,3,\n",
        ("a column without a name and without values was left out",),
    ),
    "pandas' index": (
        b",label,a,b\n0,1,0.5,2\n1,0,1.5,3\n",
        ("the first column has no name and numbers the rows, as pandas' index does; it was left out",),
    ),
    "pandas' index, read and written again": (
        b"Unnamed: 0,label,a,b\n0,1,0.5,2\n1,0,1.5,3\n",
        ("the first column has no name and numbers the rows, as pandas' index does; it was left out",),
    ),
}


@pytest.mark.parametrize(("content", "noted"), FORMS.values(), ids=FORMS)
def test_a_table_is_the_same_in_every_form(tmp_path: Path, content: bytes, noted: tuple[str, ...]) -> None:
    columns, notes = imported(tmp_path, content)
    assert (columns["id"], columns["label"], columns["features"]) == ([0, 1], [1, 0], [[0.5, 2], [1.5, 3]])
    assert notes == noted


@pytest.mark.parametrize(
    ("content", "options", "problem"),
    [
        ("label,a,a\n1,2,3\n", {}, "has several columns called 'a'; rename or drop the others"),
        ("label,a,\n1,2,\n0,3,4\n", {}, "column  is not all numbers"),
        (",label,a\n7,1,2\n9,0,3\n", {}, "may be pandas' index with the ids, or a feature: name it"),
        ("id,label,a\n,1,2\nx,0,3\n", {"id": "id"}, "column id lacks 1 value"),
        (PLAIN, {"first_id": 2**63}, "whose numbers from 9223372036854775808 do not fit 64 bits"),
        (PLAIN, {"first_id": -(2**63) - 1}, "do not fit 64 bits"),
        (PLAIN, {"first_label": 2**70}, "do not fit 64 bits; give another --first-label"),
        ('label,a\n1,"2\n', {}, "column a is not all numbers"),
        (b"\x00\x01\xff" * 9, {}, "neither IDX, NPZ nor CSV"),
        (b"PAR1 and more", {}, r"is a Parquet file, which raymu trains from as it is; name it in data\.train"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\0", {"labels": "a.csv"}, "has 255 dimensions; give an array of 64"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataInvalid, match=problem) as refusal:
        imported(tmp_path, content, **options)
    assert len(str(refusal.value).splitlines()) == 1
    assert not (tmp_path / "a.parquet").exists()


def test_ids_keep_their_zeros_and_large_integers_are_text(tmp_path: Path) -> None:
    content = f"id,owner,label,a\n007,{2**70},1,2\n7,3,0,3\n"
    columns, _ = imported(tmp_path, content, id="id")
    assert (columns["id"], columns["owner"]) == (["007", "7"], [str(2**70), "3"])
    assert imported(tmp_path, content.replace("007", "70"), id="id")[0]["id"] == [70, 7]


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (("True", "False"), [1, 0]),
        (("1.0", "0.0"), [1, 0]),
        (("-1", "1"), [-1, 1]),
        (("yes", "no"), [1, 0]),
    ],
)
def test_labels_of_every_kind_are_numbered_or_kept(tmp_path: Path, cells: tuple[str, str], labels: list[int]) -> None:
    columns, _ = imported(tmp_path, f"label,a\n{cells[0]},2\n{cells[1]},3\n")
    assert columns["label"] == labels
    assert np.shape(columns["features"]) == (2, 1)
