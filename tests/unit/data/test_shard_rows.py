"""The rows of a shard come out in one order, each group in one piece, whatever parts they came in."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymu.data import shard_rows, shard_spill
from raymu.data.run_table import own_table
from raymu.data.shard_rows import HASH, ShardRows
from raymu.data.shard_spill import ShardSpill

ROWS = 97


def as_fixed_lists(values: Any, width: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values), width)


def with_gaps(values: list[Any]) -> list[Any]:
    return [None if row % 5 == 0 else value for row, value in enumerate(values)]


RANDOM = np.random.default_rng(3)
COLUMNS: dict[str, pa.Array] = {
    "integers": pa.array(RANDOM.integers(0, 9, ROWS)),
    "missing floats": pa.array(with_gaps(RANDOM.random(ROWS).tolist())),
    "booleans": pa.array(with_gaps([row % 3 == 0 for row in range(ROWS)])),
    "days": pa.array((np.datetime64("2020-01-01") + RANDOM.integers(0, 99, ROWS)).astype(object).tolist()),
    "texts": pa.array(with_gaps(["é" * (row % 7) for row in range(ROWS)])),
    "large texts": pa.array([f"{row}" for row in range(ROWS)], pa.large_string()),
    "pictures": pa.array([bytes([row]) * (row * 3) for row in range(ROWS)], pa.binary()),
    "vectors": as_fixed_lists(RANDOM.random(ROWS * 4).astype(np.float32), 4),
    "pixels": as_fixed_lists(RANDOM.integers(0, 255, ROWS * 9).astype(np.uint8), 9),
    "missing vectors": pa.array(with_gaps([[1, row] for row in range(ROWS)]), pa.list_(pa.int16(), 2)),
    "lists": pa.array(with_gaps([["a"] * (row % 3) for row in range(ROWS)])),
    "records": pa.array([{"a": row, "b": None} for row in range(ROWS)], pa.struct({"a": pa.int8(), "b": pa.string()})),
    "nothing": pa.nulls(ROWS),
}


def placed(columns: dict[str, pa.Array] = COLUMNS) -> pa.Table:
    """Return placed rows, with hashes and slices in no order."""
    random = np.random.default_rng(4)
    hashes = random.integers(0, 2**63, ROWS).astype(np.uint64) * np.uint64(2) + np.uint64(1)
    own = {"id": pa.array([f"s{row}" for row in range(ROWS)]), "slice": pa.array(random.integers(0, 3, ROWS))}
    return pa.table(own | columns | {HASH: pa.array(hashes)}).replace_schema_metadata({"key": "value"})


def in_order(rows: pa.Table) -> pa.Table:
    order = np.lexsort((rows[HASH].to_numpy(), rows["slice"].to_numpy()))
    return rows.take(pa.array(order)).drop_columns(HASH)


def cut(rows: pa.Table, *bounds: int) -> list[pa.Table]:
    edges = [0, *bounds, len(rows)]
    return [rows.slice(start, stop - start) for start, stop in itertools.pairwise(edges)]


@pytest.fixture(params=[1, 2**30], ids=["mapped", "in memory"])
def block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_BLOCK_BYTES", "_GROUP_BYTES"):
        monkeypatch.setattr(shard_rows, name, 200 if request.param == 1 else request.param)


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("bounds", [(), (40,), (1, 1, 30, 96)])
def test_parts_become_groups_in_one_order(tmp_path: Path, bounds: tuple[int, ...]) -> None:
    rows = placed()
    for most_rows in (1, ROWS - 1, ROWS, ROWS + 1):
        shard = ShardRows(cut(rows, *bounds))
        groups = []
        for group in shard.groups(most_rows, folder=tmp_path):
            assert all(column.num_chunks == 1 for column in group.columns)
            shard.release()
            group.validate(full=True)
            groups.append(pa.table(group.to_pydict(), schema=group.schema))
        assert [len(group) for group in groups] == [
            len(part) for part in cut(in_order(rows), *range(most_rows, ROWS, most_rows))
        ]
        assert pa.concat_tables(groups).equals(in_order(rows), check_metadata=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("block_bytes")
def test_rows_that_are_left_out_are_in_no_group() -> None:
    rows = placed()

    def is_left_out(part: pa.Table) -> Any:
        return np.array([int(sample_id[1:]) % 4 == 1 for sample_id in part["id"].to_pylist()])

    shard = ShardRows(cut(rows, 13, 50), is_left_out=is_left_out)
    kept = in_order(rows.filter(pa.array(~is_left_out(rows))))
    assert pa.concat_tables([pa.table(group.to_pydict(), schema=group.schema) for group in shard.groups(20)]).equals(
        kept
    )
    assert shard.select(["id", "owner", "slice"]).equals(kept.select(["id", "slice"]))
    by_id = dict(zip(rows["id"].to_pylist(), rows[HASH].to_pylist(), strict=True))
    assert shard.hashes.tolist() == [by_id[sample_id] for sample_id in kept["id"].to_pylist()]


def test_a_shard_without_rows_is_one_empty_group() -> None:
    [group] = ShardRows([placed().slice(0, 0)]).groups(10)
    assert group.schema == in_order(placed()).schema
    assert not len(group)


def spilled_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_spill, "_PENDING_BYTES", 2**30)


def spilled_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_spill, "_PENDING_BYTES", 1)


def spilled_to_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_spill, "_PENDING_BYTES", 9000)


@pytest.mark.parametrize("spilled", [spilled_in_memory, spilled_to_disk, spilled_to_both])
def test_a_spill_returns_each_shard_in_parts_that_are_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spilled: Callable[[pytest.MonkeyPatch], None]
) -> None:
    spilled(monkeypatch)
    rows = placed()
    shards = np.random.default_rng(5).integers(0, 3, ROWS)
    shards[shards == 1] = 2
    spill = ShardSpill(3, tmp_path)
    edges = [0, 20, 21, 60, ROWS]
    for start, stop in itertools.pairwise(edges):
        spill.add(rows.slice(start, stop - start), shards[start:stop])
        for _ in range(2):  # what is added after a look is seen too
            assert sum(len(part) for shard in range(3) for part in spill.parts(shard)) == stop
    for shard in range(3):
        parts = spill.parts(shard)
        for part in parts:
            assert part.drop_columns(HASH).equals(in_order(part))
        held = in_order(rows.filter(pa.array(shards == shard)))
        spill.release()
        [group] = ShardRows(parts, release=spill.release).groups(ROWS)
        assert group.equals(held)
    assert not list(tmp_path.iterdir())
    spill.close()


def test_placed_rows_of_a_run_have_the_types_of_its_table() -> None:
    table = own_table(
        ids=pa.array([3, 1, 2]),
        features=np.arange(6, dtype=np.float32).reshape(3, 2),
        labels=np.array([0, 1, 0]),
        slices=np.array([0, 0, 0]),
        owners=None,
    )
    [group] = ShardRows([table.append_column(HASH, pa.array([5, 6, 4], pa.uint64()))]).groups(10)
    assert group.schema.equals(table.schema, check_metadata=True)
    assert group["id"].to_pylist() == [2, 3, 1]
    assert group["features"].to_pylist() == [[4, 5], [0, 1], [2, 3]]
