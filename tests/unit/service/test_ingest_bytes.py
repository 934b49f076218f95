"""Ingest writes the same bytes whatever the number of files, row groups and batches that the rows come in."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.data import shard_spill, table_stream
from raymu.errors import DataInvalid
from raymu.service.ingest import prepare_run
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples
from tests.support.ingest_tables import CASES, config_of, run_digest, write_case

GOLDEN: dict[str, str] = {
    "integers": "bdac03b1f895f2e3",
    "policy owner": "3db0ad44207e25dc",
    "policy risk": "db382dc984c3c656",
    "tabular": "a31e54f1dfc60a38",
    "several labels": "0a468a729fdbbd3c",
    "marks": "514973006cbf2182",
    "regression": "fa053eef617f3812",
    "labels of text": "ec63ff6c71a348fe",
    "labels of booleans": "a35a744f8d4ce692",
    "folders": "65b0ef20c11c5239",
    "integers beyond 64 bits": "2b19db8ed3600dad",
    "decimals": "e1b176781fb33c56",
    "decimals beyond 64 bits": "c3544a0e2155a5b6",
    "floats": "6b75c1acb650d8e7",
    "bytes that spell text": "917d7dc305eee909",
    "16 bytes": "f973b14ae357fd83",
    "times": "430891ed443749ae",
    "long texts": "516c018ad11a087c",
    "columns of numbers": "1b651dbd3c9cea8a",
    "float64": "9eb226661e155097",
    "bytes as features": "e457fc5606ac3749",
    "pictures": "f0625b00878d509d",
    "excluded": "358711028665e6c0",
}
"""Case -> the digest of its run, as version 0.2 made it of the whole table."""


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_what_it_always_was(tmp_path: Path, name: str) -> None:
    case, location = CASES[name], str(tmp_path / "run")
    data = write_case(case, tmp_path / "data")
    prepare_run(config_of(case, data), location, **case.options).write()
    assert run_digest(location, data=data) == GOLDEN[name]


def tables_of(location: Path) -> list[str]:
    return [ref.sha256 for ref in RunStore(str(location)).manifest.tables]


@pytest.mark.parametrize("name", CASES)
def test_files_row_groups_and_batches_change_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nor does it matter whether the samples wait in memory or on the disk."""
    case = CASES[name]
    whole = write_case(case, tmp_path / "whole")
    prepare_run(config_of(case, whole), str(tmp_path / "run"), **case.options).write()
    monkeypatch.setattr(table_stream, "_FEWEST_ROWS", 7)
    monkeypatch.setattr(table_stream, "_BATCH_BYTES", 1)
    monkeypatch.setattr(shard_spill, "_MEMORY_BYTES", 1)
    monkeypatch.setattr(shard_spill, "_PENDING_BYTES", 3000)
    parts = write_case(case, tmp_path / "parts", pieces=3, row_group=11)
    prepare_run(config_of(case, parts), str(tmp_path / "again"), **case.options).write()
    assert tables_of(tmp_path / "again") == tables_of(tmp_path / "run")
    assert run_digest(str(tmp_path / "again"), data=parts) == GOLDEN[name]


REPEATED: dict[str, tuple[list[Any], str]] = {
    "integers": ([*range(238), 3, 7], "2 occur again, such as 3"),
    "texts": ([*(f"a{number}" for number in range(239)), "a5 "], "1 occur again, such as 'a5'"),
    "spellings of a UUID": (
        [*(str(UUID(int=2**100 + number)) for number in range(239)), UUID(int=2**100 + 9).hex.upper()],
        f"1 occur again, such as '{UUID(int=2**100 + 9).hex}'",
    ),
}


@pytest.mark.parametrize(("ids", "message"), REPEATED.values(), ids=REPEATED)
@pytest.mark.parametrize("policy", ["uniform", "owner"])
def test_ids_that_occur_again_in_another_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids: list[Any], message: str, policy: str
) -> None:
    """Their owners, or their spellings, may place them in different shards."""
    monkeypatch.setattr(table_stream, "_FEWEST_ROWS", 50)
    monkeypatch.setattr(table_stream, "_BATCH_BYTES", 1)
    (tmp_path / "all").mkdir()
    table = write_samples(tmp_path / "all.parquet").set_column(0, "id", pa.array(ids))
    pq.write_table(table.slice(0, 200), tmp_path / "all/a.parquet")
    pq.write_table(table.slice(200), tmp_path / "all/b.parquet")
    config = make_config(tmp_path / "all", data={"owner": "owner"}, partition={"policy": policy})
    with pytest.raises(DataInvalid, match=f"ids in column id are not unique: {message}; give each"):
        prepare_run(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_what_is_missing_is_counted_over_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_stream, "_FEWEST_ROWS", 50)
    monkeypatch.setattr(table_stream, "_BATCH_BYTES", 1)
    table = write_samples(tmp_path / "all.parquet")
    features = [None if row % 100 == 7 else [float(row)] * 6 for row in range(len(table))]
    pq.write_table(table.set_column(2, "features", pa.array(features)), tmp_path / "all.parquet")
    with pytest.raises(DataInvalid, match="column features lacks 3 values; fill them or drop those rows"):
        prepare_run(make_config(tmp_path / "all.parquet"), str(tmp_path / "run"))
    broken = [[float("nan") if row % 100 == 7 else 1.0] * 6 for row in range(len(table))]
    pq.write_table(table.set_column(2, "features", pa.array(broken)), tmp_path / "all.parquet")
    with pytest.raises(DataInvalid, match="missing, NaN or infinite features in 3 rows; mend or drop them"):
        prepare_run(make_config(tmp_path / "all.parquet"), str(tmp_path / "run"))
