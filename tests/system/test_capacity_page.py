"""The tables of cluster/CAPACITY.md: an example, multiplied by measured constants."""

import re

from experiments.capacity import (
    EPOCHS,
    GROUP,
    LINK,
    REVOKED,
    SAMPLES,
    SHARDS,
    SLICES,
    bounds_table,
    constants_table,
    in_bytes,
    in_time,
)
from experiments.harness import ROOT
from experiments.summarize import read_kept, without_results
from tests.support.evidence import scaled

PAGE = ROOT / "cluster" / "CAPACITY.md"


def test_a_changed_result_changes_both_tables() -> None:
    result = read_kept("capacity.json")
    for table in (constants_table, bounds_table):
        assert table(scaled(result)) != table(result)


def test_the_only_numbers_outside_the_tables_are_those_of_the_example() -> None:
    chosen = {f"{SHARDS:,}", "10^9", "10^6", str(SLICES), str(EPOCHS), str(GROUP), "784", "784-256-10", "25"}
    assert (SAMPLES, REVOKED, LINK) == (10**9, 10**6, 25e9 / 8)
    prose = re.sub(
        r"`[^`]*`|\]\([^)]*\)|^\d\. ", "", without_results(PAGE.read_text(encoding="utf-8")), flags=re.MULTILINE
    )
    assert {number.rstrip(",") for number in re.findall(r"\d[\d,^-]*", prose)} <= chosen


def test_a_bound_is_its_constant_times_the_example() -> None:
    result = read_kept("capacity.json")
    table = bounds_table(result)
    samples, coordinator = result["samples"], result["coordinator"]
    assert f"| indexes of all shards | {in_bytes(SAMPLES * samples['index_bytes'])} |" in table
    assert f"| a whole generation | {in_bytes(SHARDS * coordinator['generation_bytes_per_shard'])} |" in table
    checkpoint = next(row for row in result["models"] if row["model"].endswith("Adam"))["checkpoint_bytes"]
    assert f"| checkpoints, Adam | {in_bytes(SHARDS * SLICES * checkpoint)} |" in table


def test_sizes_and_times_are_written_with_three_digits() -> None:
    assert [in_bytes(size) for size in (31.96, 999.6, 2_444_188, 19.1e12, 3.2e18)] == [
        "32 B",
        "1 kB",
        "2.44 MB",
        "19.1 TB",
        "3.2e+03 PB",
    ]
    assert [in_time(seconds) for seconds in (8.3e-7, 0.0519, 1.89, 828.0, 39_600.0, 400_000.0)] == [
        "0.83 µs",
        "51.9 ms",
        "1.89 s",
        "13.8 minutes",
        "11 hours",
        "4.63 days",
    ]
