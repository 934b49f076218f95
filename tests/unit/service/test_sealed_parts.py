"""Records of placed rows and of keys: sealed, and independent of the order in which they arrive."""

import numpy as np
import pyarrow as pa
import pytest

from raymu.data.repeated_keys import in_order
from raymu.service.sealed_parts import (
    GROUP,
    SEALED,
    SHARD,
    RecordSeal,
    in_table,
    key_records,
    open_repeated,
    open_rows,
    row_records,
)

SEAL = RecordSeal(bytes(range(32)))
RANDOM = np.random.default_rng(3)


def rows_of(first: int, count: int) -> pa.Table:
    return pa.table({"id": [f"sample-{number}" for number in range(first, first + count)]})


def shuffled(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(tables)
    return table.take(pa.array(RANDOM.permutation(len(table))))


def test_the_rows_of_a_shard_come_in_the_order_of_the_parts() -> None:
    shards = [np.array([1, 0, 1, 3]), np.array([3, 3, 1, 0]), np.array([0, 0, 0, 1])]
    first, second = rows_of(0, 4), rows_of(4, 4)
    earlier = row_records([(first, shards[0]), (second, shards[1])], part=0, seal=SEAL)
    later = row_records([(rows_of(8, 4), shards[2])], part=1, seal=SEAL)
    assert earlier[SHARD].to_pylist() == [0, 1, 3]
    records = shuffled([earlier, later])
    opened = {}
    for shard in (0, 1, 3):
        of_shard = records.filter(pa.compute.equal(records[SHARD], shard))
        opened[shard] = pa.concat_tables(open_rows(of_shard, SEAL))["id"].to_pylist()
    names = [f"sample-{number}" for number in range(12)]
    numbers = np.concatenate(shards).tolist()
    expected = {
        shard: [name for name, number in zip(names, numbers, strict=True) if number == shard] for shard in (0, 1, 3)
    }
    assert opened == expected


def test_records_show_nothing_and_are_bound_to_their_shard_and_their_run() -> None:
    records = row_records([(rows_of(0, 50), np.arange(50) % 2)], part=0, seal=SEAL)
    assert all(b"sample" not in payload for payload in records[SEALED].to_pylist())
    with pytest.raises(ValueError, match="this key"):
        open_rows(records, RecordSeal(bytes(32)))
    exchanged = records.set_column(0, SHARD, pa.array([1, 0]))
    with pytest.raises(ValueError, match="this key"):
        open_rows(exchanged, SEAL)


def test_no_rows_make_no_record() -> None:
    assert row_records([(rows_of(0, 0), np.zeros(0, dtype=np.int64))], part=0, seal=SEAL).num_rows == 0


def test_keys_that_occur_again_have_the_row_of_the_table_in_which_they_first_do() -> None:
    keys = RANDOM.integers(0, 2**64, 300, dtype=np.uint64)
    keys[[250, 120]] = keys[[7, 130]]
    parts = np.split(keys, [100, 101, 240])
    records = shuffled([key_records(part, part=number, seal=SEAL) for number, part in enumerate(parts)])
    groups = [
        open_repeated(records.filter(pa.compute.equal(records[GROUP], group)), SEAL)
        for group in set(records[GROUP].to_pylist())
    ]
    repeated = in_table(in_order(groups), np.array([0, 100, 101, 240]))
    assert repeated["row"].tolist() == [7, 120]
    assert repeated["key"].tolist() == keys[[7, 120]].tolist()
