"""Columns of files as a structure of bytes and path."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.data.table_union import read_union
from raymu.errors import DataInvalid


def write(path: Path, *files: dict[str, object] | None) -> str:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"picture": pa.array(files, kind), "other": range(len(files))}), path)
    return str(path)


def test_bytes_are_taken_and_missing_ones_are_read_from_their_paths(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").write_bytes(b"second")
    table = write(tmp_path / "t.parquet", {"bytes": b"first", "path": "a.png"}, {"path": "in/b.png"}, None)
    read = read_union(table, ["picture"]).table["picture"]
    assert read.type == pa.large_binary()
    assert read.to_pylist() == [b"first", b"second", None]


def test_files_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    table = write(tmp_path / "t.parquet", {"path": "a.png"}, {"path": "b.png"}, {"bytes": b"c"})
    with pytest.raises(DataInvalid, match="has no bytes for 2 files, which cannot be read from their paths"):
        read_union(table, ["picture"])
    with pytest.raises(DataInvalid, match="has no bytes for 2 files"):
        read_union(pq.read_table(table), ["picture"])
    assert read_union(table, ["other"]).rows == 3  # what is not asked for is not read
