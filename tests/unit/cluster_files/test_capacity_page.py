"""The numbers in cluster/CAPACITY.md are those that were measured, and nobody's memory."""

import re

import pytest
from capacity_page import (
    EPOCHS,
    GROUP,
    LINK,
    PAGE,
    REVOKED,
    SAMPLES,
    SHARDS,
    SLICES,
    TABLES,
    bounds,
    in_bytes,
    in_time,
    kept,
    with_tables,
    without_tables,
)

from tests.support.evidence import scaled


@pytest.fixture
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_every_table_is_what_the_result_gives(page: str) -> None:
    assert page == with_tables(page, kept()), "run experiments/capacity_page.py"
    assert all(f"<!-- results: {name} -->" in page for name in TABLES)


def test_a_changed_result_changes_both_tables(page: str) -> None:
    other = with_tables(page, scaled(kept()))
    before, after = ([block.splitlines() for block in text.split("<!-- results: ")[1:]] for text in (page, other))
    assert [one != two for one, two in zip(before, after, strict=True)] == [True] * len(TABLES)


def test_the_only_numbers_outside_the_tables_are_those_that_were_chosen(page: str) -> None:
    chosen = {f"{SHARDS:,}", "10^9", "10^6", str(SLICES), str(EPOCHS), str(GROUP), "784", "784-256-10", "25"}
    assert (SAMPLES, REVOKED, LINK) == (10**9, 10**6, 25e9 / 8)
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)|^\d\. ", "", without_tables(page), flags=re.MULTILINE)
    assert {number.rstrip(",") for number in re.findall(r"\d[\d,^-]*", prose)} <= chosen


def test_a_bound_is_its_constant_times_the_example() -> None:
    found = kept()
    table = bounds(found)
    samples, coordinator = found["samples"], found["coordinator"]
    assert f"| coordinator: index of samples | {in_bytes(SAMPLES * samples['index_bytes'])} |" in table
    assert f"| a generation's file | {in_bytes(SHARDS * coordinator['generation_bytes_per_shard'])} |" in table
    checkpoint = next(one for one in found["models"] if one["model"].endswith("Adam"))["checkpoint_bytes"]
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
