"""An extension writes the same bytes whatever the number of files, row groups and batches that the rows come in."""

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from experiments.made_up_samples import write_made_up
from experiments.process_memory import begin_peak, peak_bytes, present_bytes
from raymu.data import shard_spill, table_stream
from raymu.service.ingest import prepare_run
from tests.support.examples import make_config
from tests.support.ingest_tables import CASES, Extended, config_of, extend_untrained, write_case

GOLDEN: dict[str, str] = {
    "integers": "f672de2dbbb24f13",
    "policy owner": "10df2c5f397ef3f7",
    "policy risk": "4394ab9db8e6420f",
    "tabular": "574a0bd21aacc3f6",
    "several labels": "97adf4c76a306e82",
    "marks": "aed4e2e91bc649d2",
    "regression": "bd9a68dc572f9a73",
    "labels of text": "9fa92689c9887216",
    "labels of booleans": "e12251eb2ca2befd",
    "folders": "50dfa5f256440e01",
    "integers beyond 64 bits": "da5003a478a9823c",
    "decimals": "d14003de0cf6fe43",
    "decimals beyond 64 bits": "abf0218d1fa06ba9",
    "floats": "c032d918f8d20e4b",
    "bytes that spell text": "e4acc37b15ce0a70",
    "16 bytes": "8b555d7ebb9a9dba",
    "times": "1ce6d859b1b2888b",
    "long texts": "97f8d7191e697a88",
    "columns of numbers": "04a6a84e56fcddac",
    "float64": "46558cbc40bb83a3",
    "bytes as features": "6d797ee66980a92b",
    "pictures": "d6afcfa3f1efe5f5",
    "excluded": "f672de2dbbb24f13",
}
"""Case -> the digest of its run after an extension, as it was made of the whole table."""
OLD, NEW = slice(0, 80), slice(80, None)


def extended(name: str, folder: Path, **options: int) -> Extended:
    """Make a run of the first rows of a case, and extend it by the others, which are written as `options` say."""
    case = CASES[name]
    data = write_case(case, folder / "old", rows=OLD)
    prepare_run(config_of(case, data), str(folder / "run")).write()
    return extend_untrained(str(folder / "run"), write_case(case, folder / "new", rows=NEW, **options), slices=2)


@pytest.mark.parametrize("name", CASES)
def test_an_extension_is_what_it_always_was(tmp_path: Path, name: str) -> None:
    assert extended(name, tmp_path).digest == GOLDEN[name]


@pytest.mark.parametrize("name", CASES)
def test_files_row_groups_and_batches_change_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nor does it matter whether the samples wait in memory or on the disk."""
    whole = extended(name, tmp_path / "whole")
    monkeypatch.setattr(table_stream, "_FEWEST_ROWS", 7)
    monkeypatch.setattr(table_stream, "_BATCH_BYTES", 1)
    monkeypatch.setattr(shard_spill, "_MEMORY_BYTES", 1)
    monkeypatch.setattr(shard_spill, "_PENDING_BYTES", 3000)
    parts = extended(name, tmp_path / "parts", pieces=3, row_group=11)
    assert parts.written.samples == whole.written.samples
    assert parts.digest == GOLDEN[name]


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    """As arrays, the samples of the larger one would take 38 MB more, and several times as much while they are placed."""
    counts = (2_000, 20_000, 320_000)  # the first brings in what is imported late
    for count in counts:
        write_made_up(tmp_path / f"{count}.parquet", count, features=32, classes=4)
    old = tmp_path / "old.parquet"
    few = pq.read_table(tmp_path / "2000.parquet")
    pq.write_table(few.set_column(0, "id", pc.add(few["id"], 10**9)), old)
    config = make_config(old, data={"classes": None}, partition={"shards": 4, "slices": 2})
    peaks = []
    for count in counts:
        location = str(tmp_path / f"run-{count}")
        prepare_run(config, location).write()
        before = present_bytes()
        begin_peak()
        extend_untrained(location, str(tmp_path / f"{count}.parquet"), is_described=False)
        peaks.append(peak_bytes() - before)
    assert peaks[2] - peaks[1] < 100e6
