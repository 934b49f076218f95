"""Deletions in a Delta Lake table, carried out by `raymu revoke`."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("deltalake")

from deltalake import DeltaTable, write_deltalake

from raymu.cli import run_command
from raymu.service.status import receipts
from raymu.store.run import RunStore
from tests.support.examples import create_run, make_config, write_samples


def test_a_night_of_deletions_is_carried_out_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = write_samples(tmp_path / "all.parquet", samples=100)
    write_deltalake(
        str(tmp_path / "table"),
        samples.select(["id", "risk"]),
        configuration={"delta.enableChangeDataFeed": "true"},
    )
    create_run(make_config(tmp_path / "all.parquet", training={"epochs": 1}, partition={"slices": 2}), tmp_path / "run")

    def revoke(*options: str) -> tuple[int, dict[str, Any]]:
        command = ["revoke", str(tmp_path / "run"), "--delta-table", str(tmp_path / "table"), "--json", "--trust"]
        status = run_command([*command, "--strategy", "sisa", *options])[0]
        return status, json.loads(capsys.readouterr().out)

    table = DeltaTable(str(tmp_path / "table"))
    table.delete("id = 1007 or id = 1014")
    write_deltalake(
        str(tmp_path / "table"), samples.slice(0, 1).select(["id", "risk"]).set_column(0, "id", [[5]]), mode="append"
    )
    DeltaTable(str(tmp_path / "table")).delete("id = 5")
    status, document = revoke("--since", "0")
    versions = document["versions"]
    assert (status, document["table_version"]) == (0, 3)
    assert [(each["version"], each["status"]) for each in versions] == [(1, "accepted"), (3, "not held")]
    store = RunStore(str(tmp_path / "run"))
    held = {
        each
        for lineage in store.current().lineages
        for each in store.samples.read_table(lineage.table)["id"].to_pylist()
    }
    assert not held & {1007, 1014}
    status, document = revoke()
    assert (status, [each["status"] for each in document["versions"]]) == (0, ["not held"])
    DeltaTable(str(tmp_path / "table")).delete("id = 1021")
    status, document = revoke()
    assert [each["status"] for each in document["versions"]] == ["not held", "accepted"]
    assert revoke()[1]["versions"] == []
    DeltaTable(str(tmp_path / "table")).delete("id = 1028")
    status, document = revoke("--boundary", "often")
    assert (status, document["versions"][0]["status"], document["since_again"]) == (1, "refused", 5 - 1)
    status, document = revoke("--since", "0")
    assert [each["status"] for each in document["versions"]] == ["accepted", "not held", "accepted", "accepted"]
    assert len(receipts(store)) == 3
