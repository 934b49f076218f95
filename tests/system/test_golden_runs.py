"""A run directory that version 0.1 wrote opens, predicts, forgets, settles and verifies in this version."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raymu
from raymu.core.records import Exactness, SampleId
from raymu.core.verdict import Verdict
from raymu.data.tables import read_table
from raymu.store.receipts import ReceiptRow, check_receipts
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at
from tests.support.golden_runs import EVERY, copied_golden_run

STRATEGIES = ("sisa", "dpus", "hs", "ohs")


@pytest.fixture(params=EVERY, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def location(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a golden run, with its training file at the path in its settings."""
    return copied_golden_run(request.param, tmp_path, monkeypatch)


def issued_receipts(location: Path) -> list[ReceiptRow]:
    """The receipts as they were issued, in order."""
    with closing(RunStore(str(location)).journal(is_read_only=True)) as journal:
        return journal.receipt_rows()


def assert_nothing_fails(run: raymu.Run) -> None:
    """Without `--replay` a settled run passes, and with it on another determinism class it is inconclusive at worst."""
    verification = run.verify()
    assert [check.findings for check in verification.checks if check.findings] == []
    replayed = run.verify(replay=None, anchor=verification.anchor)
    assert {check.name: check.findings for check in replayed.checks if check.verdict is Verdict.FAIL} == {}
    assert {check.name for check in replayed.checks if check.findings} <= {"replay"}


def test_a_golden_run_opens_forgets_and_verifies(location: Path) -> None:
    before = issued_receipts(location)
    features = read_table("all.parquet", RunStore(str(location)).config.data).features
    with raymu.open_run(location) as run:
        assert run.status().generation
        run.settle()  # first finishes the work of an interrupted run
        assert run.status().debt.shards == 0
        probabilities = run.predict(features)
        assert probabilities.dtype == np.float32
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        assert {receipt.exactness for receipt in run.receipts()} <= {Exactness.EXACT, Exactness.INCONCLUSIVE}
    with raymu.open_run(location) as run:
        assert_nothing_fails(run)

    for strategy in STRATEGIES:
        with raymu.open_run(location) as run:
            retained = [sample_id for sample_id in ids_at(run.config) if is_retained(location, sample_id)]
            receipt = run.revoke(ids=retained[:1], strategy=strategy)
            assert receipt.purged_at
            assert not is_retained(location, retained[0])

    with raymu.open_run(location) as run:
        run.settle()
    with raymu.open_run(location) as run:
        assert {receipt.exactness for receipt in run.receipts()} <= {Exactness.EXACT, Exactness.INCONCLUSIVE}
        assert_nothing_fails(run)
        store = RunStore(str(location))
        rows = issued_receipts(location)
        assert rows[: len(before)] == before, "an issued receipt never changes"
        checked = list(check_receipts(rows, run=store.manifest.run_id, public_key=store.keys.public_key))
        last = {receipt.request_id: receipt for _, receipt in checked}
        assert last == {receipt.request_id: receipt for receipt in run.receipts()}


def is_retained(location: Path, sample_id: SampleId) -> bool:
    """Whether the run still has a sample."""
    store = RunStore(str(location))
    tables = [lineage.table for lineage in store.current().lineages]
    return any(sample_id in store.samples.read_table(table, ["id"])["id"].to_pylist() for table in tables)


def test_a_golden_run_can_be_extended(location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYMU_ANCHORS", str(tmp_path / "anchors"))  # other copies of the run went on in other ways
    store = RunStore(str(location))
    fields, table = store.config.data, pq.read_table("all.parquet")
    ids = table[fields.id]
    new = [f"new-{row}" if pa.types.is_string(ids.type) else 10**9 + row for row in range(40)]
    more = table.slice(0, 40).set_column(table.column_names.index(fields.id), fields.id, pa.array(new, ids.type))
    pq.write_table(more, "more.parquet")
    with raymu.open_run(location) as run:
        run.settle()
        report = run.extend("more.parquet", ignore_revoked=True)  # one run has revoked an owner
        assert (report.samples + report.left_out, report.slices) == (40, store.config.partition.slices + 1)
        assert run.revoke(ids=new[:5], strategy="sisa", ignore_unknown=True).purged_at
    with raymu.open_run(location) as run:
        assert_nothing_fails(run)
