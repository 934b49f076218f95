"""Pieces of a table, each read without the others, have all rows in their order."""

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.data.table_stream import TableStream, open_stream

NAMES = ["id", "owner", "size"]


@pytest.fixture
def stream(tmp_path: Path) -> TableStream:
    """Two Parquet files in folders that name their owners, one of them with more columns, and an Arrow file."""
    for folder in ("owner=anna", "owner=ben"):
        (tmp_path / folder).mkdir()
    pq.write_table(pa.table({"id": range(100)}), tmp_path / "owner=anna" / "a.parquet", row_group_size=7)
    pq.write_table(pa.table({"id": range(100, 130), "size": [0.5] * 30}), tmp_path / "owner=ben" / "b.parquet")
    with pa.ipc.new_file(str(tmp_path / "owner=ben" / "c.arrow"), pa.schema([("id", pa.int64())])) as writer:
        writer.write_table(pa.table({"id": range(130, 140)}))
    return open_stream(str(tmp_path), None)


@pytest.mark.parametrize("most_bytes", [1, 300, 10**9])
def test_pieces_are_the_table(stream: TableStream, most_bytes: int) -> None:
    pieces = list(stream.pieces(NAMES, most_bytes=most_bytes))
    assert len(pieces) == {1: 17, 300: 10, 10**9: 3}[most_bytes] or most_bytes == 300
    travelled = [pickle.loads(pickle.dumps(piece)) for piece in pieces]
    read = pa.concat_tables(batch for piece in travelled for batch in piece.batches(NAMES))
    assert read.equals(pa.concat_tables(stream.batches(NAMES)))
    assert read["id"].to_pylist() == list(range(140))


def test_a_table_in_memory_is_handed_on_in_its_pieces() -> None:
    table = pa.table({"id": range(10_000)})
    pieces = list(open_stream(table, None).pieces(["id"], most_bytes=10))
    assert pa.concat_tables(batch for piece in pieces for batch in piece.batches(["id"])).equals(table)


def test_the_size_of_a_table_is_compared(stream: TableStream) -> None:
    assert stream.is_larger(NAMES, 500)
    assert not stream.is_larger(NAMES, 10**6)
    assert open_stream(pa.table({"id": range(100)}), None).is_larger(["id"], 799)
    assert not open_stream(pa.table({"id": range(100)}), None).is_larger(["id"], 800)
