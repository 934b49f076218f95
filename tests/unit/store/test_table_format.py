"""A run's tables have the same bytes, written in one go or row group by row group."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.core.records import FileRef
from raymu.data import shard_rows
from raymu.data.shard_rows import HASH, ShardRows
from raymu.store import table_format
from raymu.store.run import RunStore
from raymu.store.table_format import table_bytes, write_rows

ROWS = 700


def rows_of(count: int, *, has_text: bool) -> pa.Table:
    """Return placed rows in their order."""
    random = np.random.default_rng(2)
    numbers = np.arange(count)
    columns = {
        "id": pa.array([f"s{number}" for number in numbers], pa.string()) if has_text else pa.array(numbers),
        "label": pa.array(random.integers(0, 3, count)),
        "slice": pa.array(np.sort(random.integers(0, 4, count))),
        "features": pa.FixedSizeListArray.from_arrays(pa.array(random.integers(0, 255, count * 5).astype(np.uint8)), 5),
        "owner": pa.array([None if number % 3 == 0 else f"o{number % 7}" for number in numbers], pa.string()),
        "picture": pa.array([random.bytes(int(number) % 90) for number in numbers], pa.binary()),
        HASH: pa.array(np.sort(random.integers(0, 2**62, count)).astype(np.uint64)),
    }
    return pa.table(columns)


def in_order(rows: pa.Table) -> pa.Table:
    order = np.lexsort((rows[HASH].to_numpy(), rows["slice"].to_numpy()))
    return rows.take(pa.array(order)).drop_columns(HASH).combine_chunks()


@pytest.mark.parametrize("has_text", [False, True])
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, ROWS])
def test_rows_are_the_bytes_of_their_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, has_text: bool
) -> None:
    monkeypatch.setattr(table_format, "GROUP_ROWS", 256)
    monkeypatch.setattr(table_format, "_RELEASED_BYTES", 1)
    monkeypatch.setattr(shard_rows, "_BLOCK_BYTES", 2000)
    monkeypatch.setattr(shard_rows, "_GROUP_BYTES", 2000)
    rows, file = rows_of(count, has_text=has_text), BytesIO()
    parts = [rows.slice(0, 100), rows.slice(100, 300), rows.slice(400)]
    write_rows(ShardRows(parts), file, folder=tmp_path)
    assert file.getvalue() == table_bytes(in_order(rows))
    assert pq.ParquetFile(BytesIO(file.getvalue())).metadata.num_row_groups == max(1, -(-count // 256))
    assert pq.read_table(BytesIO(file.getvalue())).equals(in_order(rows))


def test_a_row_group_is_as_pyarrow_has_it() -> None:
    sink = pa.BufferOutputStream()
    table = in_order(rows_of(ROWS, has_text=True))
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    assert table_bytes(table) == sink.getvalue().to_pybytes()


def test_long_columns_of_lists_are_encoded_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_format, "_MOST_VALUES", 1024)
    rows, file = rows_of(ROWS, has_text=False), BytesIO()
    table = in_order(rows)
    write_rows(ShardRows([rows]), file)
    assert file.getvalue() == table_bytes(table)
    assert pq.read_table(BytesIO(file.getvalue())).equals(table)
    lengths = [len(chunk) for chunk in table_format._divided(table)["features"].chunks]
    assert lengths[0] == 205  # as many lists as the encoder takes together
    assert sum(lengths) == ROWS


@pytest.mark.parametrize("is_divided", [True, False])
def test_a_table_that_was_written_in_either_way_is_restored(
    local_store: RunStore, monkeypatch: pytest.MonkeyPatch, is_divided: bool
) -> None:
    monkeypatch.setattr(table_format, "_MOST_VALUES", 64)
    monkeypatch.setattr(table_format, "_BATCH_VALUES", 3)
    table = in_order(rows_of(ROWS, has_text=False))
    ref: FileRef = local_store.files.write_content(
        "samples/0000", ".parquet", table_bytes(table, is_divided=is_divided)
    )
    local_store.files.delete(ref.path)
    assert local_store.samples.restore_table(ref, table)
    assert local_store.samples.read_table(ref).equals(table)
    assert not local_store.samples.restore_table(ref, table.slice(1))
