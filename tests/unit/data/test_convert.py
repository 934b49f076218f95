"""Small files in the formats of public data sets."""

import gzip
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.data.convert import ConversionResult, ImportOptions, import_samples
from raymu.data.tables import SampleTable, read_table
from raymu.errors import DataInvalid, RaymuError
from tests.support.shard_training import make_fields

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}
IMAGES = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4)
LABELS = np.array([2, 0, 1], dtype=np.uint8)


def idx(values: np.ndarray, kind: str = "u1") -> bytes:
    header = struct.pack(">BBBB", 0, 0, CODES[kind], values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(kind).tobytes()


def write(folder: Path, name: str, payload: bytes | str) -> str:
    (folder / name).write_bytes(payload.encode() if isinstance(payload, str) else payload)
    return str(folder / name)


def imported(folder: Path, source: str, **options: Any) -> tuple[ConversionResult, SampleTable]:
    """Convert a file. Return the report, and the table that a run would train on, with the labels of the result."""
    out = str(folder / "out.parquet")
    report = import_samples(source, out, ImportOptions(**options))
    labels = pq.read_table(out)["label"].to_numpy()
    return report, replace(read_table(out, make_fields()), labels=labels)


def refusal(folder: Path, source: str, **options: Any) -> str:
    """Return the message for a refused file, and check that nothing was written."""
    before = sorted(folder.iterdir())
    with pytest.raises(DataInvalid) as refused:
        imported(folder, source, **options)
    assert sorted(folder.iterdir()) == before
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_files_of_images_and_labels_become_one_table(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    images, labels = (write(tmp_path, name, pack(idx(part))) for name, part in (("i", IMAGES), ("l", LABELS)))
    report, table = imported(tmp_path, images, labels=labels, first_id=60000)
    assert report == ConversionResult(samples=3, features=8, classes=())
    assert table.ids.tolist() == [60000, 60001, 60002]
    assert table.labels.tolist() == [2, 0, 1]
    assert table.array.dtype == np.uint8
    np.testing.assert_array_equal(table.features, IMAGES.reshape(3, 8))


@pytest.mark.parametrize("kind", CODES)
def test_every_type_of_idx_is_read(tmp_path: Path, kind: str) -> None:
    values = np.array([[1.0, 2.0], [-3.0, 4.0], [5.0, 6.0]]) if kind != "u1" else np.array([[1, 2], [3, 4], [5, 6]])
    images, labels = write(tmp_path, "i", idx(values, kind)), write(tmp_path, "l", idx(LABELS))
    _, table = imported(tmp_path, images, labels=labels)
    np.testing.assert_array_equal(table.features, values)
    assert table.array.dtype == (np.uint8 if kind == "u1" else np.float32)


def test_features_are_a_list_of_fixed_size(tmp_path: Path) -> None:
    images, labels = write(tmp_path, "i", idx(IMAGES)), write(tmp_path, "l", idx(LABELS))
    imported(tmp_path, images, labels=labels)
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert schema.names == ["id", "label", "features"]
    assert schema.field("features").type.list_size == 8


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (idx(IMAGES)[:-1], idx(LABELS), "cut off or damaged"),
        (idx(IMAGES) + b"x", idx(LABELS), "cut off or damaged"),
        (idx(IMAGES)[:9], idx(LABELS), "cut off or damaged"),
        (b"\0\0\x07\x01" + b"\0" * 8, idx(LABELS), "is not an IDX file"),
        (idx(IMAGES), b"1,2,3", "is not an IDX file"),
        (idx(IMAGES), idx(LABELS[:2]), "3 samples and 2 labels"),
        (idx(IMAGES), idx(IMAGES), "not one label"),
        (idx(IMAGES[:0]), idx(LABELS[:0]), "0 samples"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-9], idx(LABELS), "cannot be read"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path: Path, images: bytes, labels: bytes, words: str) -> None:
    assert words in refusal(tmp_path, write(tmp_path, "i", images), labels=write(tmp_path, "l", labels))


def test_idx_without_labels_asks_for_them(tmp_path: Path) -> None:
    assert "--labels" in refusal(tmp_path, write(tmp_path, "i", idx(IMAGES)))


def test_npz_arrays_are_taken_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "keras.npz", x_train=IMAGES, y_train=LABELS[:, None], x_test=IMAGES[:1], y_test=LABELS[:1])
    source = str(tmp_path / "keras.npz")
    report, table = imported(tmp_path, source, features="x_train", label="y_train")
    assert (report.samples, table.labels.tolist()) == (3, [2, 0, 1])
    assert imported(tmp_path, source, features="x_test", label="y_test")[0].samples == 1
    (tmp_path / "out.parquet").unlink()
    assert "x_train, y_train, x_test, y_test" in refusal(tmp_path, source)
    assert "shape (3, 2, 4)" in refusal(tmp_path, source, features="x_train", label="x_train")


def test_npz_named_as_columns_needs_no_names(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "own.npz", features=IMAGES / 7.0, label=LABELS)
    assert imported(tmp_path, str(tmp_path / "own.npz"))[1].array.dtype == np.float32


def test_samples_without_features_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "empty.npz", features=np.zeros((3, 0)), label=np.zeros(3, dtype=np.int64))
    assert "has samples without features" in refusal(tmp_path, str(tmp_path / "empty.npz"))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", features=np.array([{"a": 1}], dtype=object), label=LABELS[:1])
    assert "plain arrays" in refusal(tmp_path, str(tmp_path / "objects.npz"))
    assert "plain arrays" in refusal(tmp_path, write(tmp_path, "cut.npz", b"PK\x03\x04 and no more"))


def test_csv_with_a_header_has_its_columns_by_name(tmp_path: Path) -> None:
    source = write(tmp_path, "a.csv", "\ufeffid,label,width,height\r\nanna,1,0.5,2\r\nzoe,0,1.5,3\r\n")
    report, table = imported(tmp_path, source, id="id")
    assert (report.features, table.ids.tolist(), table.labels.tolist()) == (2, ["anna", "zoe"], [1, 0])
    assert table.array.tolist() == [[0.5, 2.0], [1.5, 3.0]]


def test_columns_separated_by_blanks_are_read(tmp_path: Path) -> None:
    source = write(tmp_path, "shuttle.tst", "50 21 -5 0 2\n55  0 92 0 4\n53 0 82 0 1\n")
    _, table = imported(tmp_path, source, label="-1", first_label=1)
    assert table.labels.tolist() == [1, 3, 0]
    assert table.array.tolist() == [[50, 21, -5, 0], [55, 0, 92, 0], [53, 0, 82, 0]]
    assert table.array.dtype == np.float32


def test_text_labels_are_numbered_alphabetically_or_in_a_given_order(tmp_path: Path) -> None:
    source = write(tmp_path, "letter.data", "T,2,8\nI,5,12\nD,4,11\n")
    report, table = imported(tmp_path, source, label="1")
    assert (report.classes, table.labels.tolist()) == (("D", "I", "T"), [2, 1, 0])
    assert table.array.dtype == np.uint8
    report, table = imported(tmp_path, source, label="1", classes=("A", "D", "I", "T"))
    assert (report.classes, table.labels.tolist()) == (("A", "D", "I", "T"), [3, 2, 1])
    (tmp_path / "out.parquet").unlink()
    assert "'D'" in refusal(tmp_path, source, label="1", classes=("I", "T"))


@pytest.mark.parametrize(("separator", "pack"), [(";", bytes), ("\t", gzip.compress), (",", gzip.compress)])
def test_csv_may_have_other_separators(tmp_path: Path, separator: str, pack: Callable[[bytes], bytes]) -> None:
    text = "label,a,b\n1,2,3\n0,5,6\n".replace(",", separator)
    _, table = imported(tmp_path, write(tmp_path, "a.csv", pack(text.encode())))
    assert (table.labels.tolist(), table.array.tolist()) == ([1, 0], [[2, 3], [5, 6]])


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("1,2,3\n0,5,6\n", {}, "has no column label, but 3 such as f0, f1, f2"),
        ("1,2,3\n0,5,6\n", {"label": "4"}, "no column 4"),
        ("label,a\n1,2\n0\n", {}, "neither IDX, NPZ nor CSV"),
        ("label,a\n1,2\n0,\n", {}, "column a is not all numbers"),
        ("label,a\n1,2\n0,red\n", {}, "column a is not all numbers"),
        ("label,a\n,2\n0,3\n", {}, "without a label"),
        ("label\n1\n0\n", {}, "without features"),
        ("label,a\n0.5,2\n0,3\n", {}, "labels are float64"),
        ("label,a\n1,2\n0,3\n", {"first_label": 1}, "a label is 0"),
        ("label,a\n1,2\n0,nan\n", {}, "column a is not all numbers"),
        ("label,a\n1,2\n0,1e39\n", {}, "NaN or infinite"),
        ("id,label,a\n7,1,2\n7,0,3\n", {"id": "id"}, "not unique"),
        ("", {}, "neither IDX, NPZ nor CSV"),
    ],
)
def test_csv_that_is_not_a_data_set_is_refused(tmp_path: Path, text: str, options: dict[str, Any], words: str) -> None:
    assert words in refusal(tmp_path, write(tmp_path, "a.csv", text), **options)


def test_what_cannot_be_read_or_written_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path, str(tmp_path / "gone"))
    source = write(tmp_path, "a.csv", "label,a\n1,2\n")
    shutil.copy(source, tmp_path / "own.parquet")
    for out, words in (
        ("a.csv", "name a .parquet file"),
        ("no/such/folder.parquet", "cannot be written"),
        ("own.parquet", "is what is imported, and would be overwritten"),
    ):
        with pytest.raises(RaymuError, match=words):
            import_samples(str(tmp_path / "own.parquet"), str(tmp_path / out), ImportOptions())
    assert (tmp_path / "own.parquet").read_text() == "label,a\n1,2\n"


def test_columns_of_words_dates_and_gaps_are_kept_as_they_are(tmp_path: Path) -> None:
    source, out = tmp_path / "people.csv", tmp_path / "people.parquet"
    source.write_text("key,who,age,city,since,outcome\na1,7,30,Rome,2020-01-02,left\na2,007,?,,2020-01-03,stayed\n")
    options = ImportOptions(id="key", owner="who", label="outcome", keeps_columns=True)
    result = import_samples(str(source), str(out), options)
    assert (result.samples, result.features, result.owner) == (2, 3, "who")
    table = pq.read_table(out)
    assert table.column_names == ["id", "label", "age", "city", "since", "owner"]
    assert table["age"].to_pylist() == [30, None]
    assert table["label"].to_pylist() == ["left", "stayed"]
    assert table["owner"].to_pylist() == ["7", "007"]
    assert pa.types.is_date32(table.schema.field("since").type)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("key,label,city\n1,0,a\n1,1,b\n", "are not unique"),
        ("key,label,id\n1,0,a\n2,1,b\n", "has a column id beside"),
        ("key,label\n1,0\n2,1\n", "without features"),
        ("key,label,city\n1,,a\n2,1,b\n", "without a label"),
    ],
)
def test_a_file_whose_columns_cannot_be_kept_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    source = tmp_path / "people.csv"
    source.write_text(text)
    with pytest.raises(DataInvalid, match=problem):
        import_samples(str(source), str(tmp_path / "out.parquet"), ImportOptions(id="key", keeps_columns=True))
    assert not (tmp_path / "out.parquet").exists()
