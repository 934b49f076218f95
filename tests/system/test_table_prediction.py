"""Tables that are predicted and evaluated part after part."""

import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import raymu
from raymu.cli import run_command
from raymu.errors import DataInvalid, RequestInvalid
from raymu.service import table_prediction
from raymu.service.requests.revocation import Revocation
from tests.support.examples import write_samples
from tests.support.trained_runs import TrainedRun, TrainedRunFactory

ROWS, PART = 2500, 1024


@pytest.fixture
def run(trained_run: TrainedRunFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainedRun:
    """A run, and a table of three parts beside it."""
    write_samples(tmp_path / "many.parquet", samples=ROWS)
    monkeypatch.setattr("raymu.data.predictions._MOST_ROWS", PART)
    return trained_run()


def accept(run: TrainedRun, slice_index: int = 1) -> None:
    """Commit a request that nobody carries out: the run serves an earlier state of shard 0 from then on."""
    sample = run.ids(shard=0, slice_index=slice_index)[0]
    asyncio.run(run.coordinator.accept([Revocation(ids=(sample,))]))


def probabilities(path: Path) -> np.ndarray:
    table = pq.read_table(path)
    return np.stack([table[f"probability_{number}"].to_numpy() for number in range(3)], axis=1)


def test_a_table_in_parts_has_the_predictions_of_the_whole(run: TrainedRun, tmp_path: Path) -> None:
    table, done = pq.read_table(tmp_path / "many.parquet"), list[tuple[int, int]]()
    with raymu.open_run(run.location) as opened:
        result = opened.predict_file(
            tmp_path / "many.parquet", tmp_path / "out.parquet", progress=lambda *counts: done.append(counts)
        )
        whole = opened.predict(table)
        opened.predict_file(tmp_path / "many.parquet", tmp_path / "out.csv", labels_only=True)
    assert (result.samples, result.generation) == (ROWS, run.store.current().number)
    np.testing.assert_array_equal(probabilities(tmp_path / "out.parquet"), whole)
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == table["id"].to_pylist()
    assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_row_groups == 3
    assert done == [(1024, ROWS), (2048, ROWS), (ROWS, ROWS)]
    labels = pyarrow.csv.read_csv(tmp_path / "out.csv")
    assert labels["label"].to_pylist() == whole.argmax(axis=1).tolist()


def test_an_id_may_be_there_again(run: TrainedRun, tmp_path: Path) -> None:
    table = pq.read_table(tmp_path / "many.parquet").slice(0, 3).take([0, 1, 1, 2])
    pq.write_table(table, tmp_path / "again.parquet")
    with raymu.open_run(run.location) as opened:
        opened.predict_file(tmp_path / "again.parquet", tmp_path / "out.parquet")
        np.testing.assert_array_equal(probabilities(tmp_path / "out.parquet"), opened.predict(table))
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == table["id"].to_pylist()


def test_a_table_in_parts_has_the_evaluation_of_the_whole(run: TrainedRun, tmp_path: Path) -> None:
    table = pq.read_table(tmp_path / "many.parquet")
    with raymu.open_run(run.location) as opened:
        of_file = opened.evaluate_file(str(tmp_path / "many.parquet"))
        features = table["features"].combine_chunks().flatten().to_numpy().reshape(-1, 6)
        assert of_file == opened.evaluate(features, table["label"].to_numpy()) == opened.evaluate(table)
    assert of_file.samples == ROWS
    assert set(of_file.metrics) == {"accuracy", "macro_f1", "roc_auc"}


def test_a_request_before_the_file_is_in_place_is_in_all_of_its_predictions(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[int] = []

    def accept_first(_path: Path) -> None:
        assert not (tmp_path / "out.parquet").exists()
        times.append(1)
        if len(times) == 1:
            accept(run)

    monkeypatch.setattr(table_prediction, "_sync", accept_first)
    with raymu.open_run(run.location) as opened:
        before = opened.predict(pq.read_table(tmp_path / "many.parquet"))
        opened.predict_file(tmp_path / "many.parquet", tmp_path / "out.parquet")
        after = opened.predict(pq.read_table(tmp_path / "many.parquet"))
    assert len(times) == 2
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(probabilities(tmp_path / "out.parquet"), after)


def test_a_request_between_two_parts_ends_the_attempt(run: TrainedRun, tmp_path: Path) -> None:
    done: list[int] = []

    def accept_once(rows: int, _total: int) -> None:
        done.append(rows)
        if len(done) == 1:
            accept(run)

    with raymu.open_run(run.location) as opened:
        opened.predict_file(tmp_path / "many.parquet", tmp_path / "out.parquet", progress=accept_once)
        after = opened.predict(pq.read_table(tmp_path / "many.parquet"))
    assert done == [1024, 1024, 2048, ROWS]
    np.testing.assert_array_equal(probabilities(tmp_path / "out.parquet"), after)


def test_a_run_that_changes_all_the_time_leaves_no_file(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymu.service.served_ensemble.ATTEMPTS", 2)
    slices = iter((2, 1))
    monkeypatch.setattr(table_prediction, "_sync", lambda _path: accept(run, next(slices)))
    files = sorted(tmp_path.rglob("*.parquet"))
    with raymu.open_run(run.location) as opened, pytest.raises(RequestInvalid, match="was changed 2 times"):
        opened.predict_file(tmp_path / "many.parquet", tmp_path / "out.parquet")
    assert {path for path in sorted(tmp_path.rglob("*.parquet")) if path.parent == tmp_path} <= set(files)


def test_a_bad_row_in_the_middle_is_named_and_nothing_is_written(
    run: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(tmp_path / "many.parquet")
    values = table["features"].combine_chunks().flatten().to_numpy().reshape(-1, 6).copy()
    values[1700, 2] = np.nan
    pq.write_table(table.set_column(2, "features", pyarrow.array(list(values))), tmp_path / "bad.parquet")
    out = tmp_path / "out.parquet"
    code, line = run_command(["predict", str(run.location), "--data", str(tmp_path / "bad.parquet"), "--out", str(out)])
    assert code == 2
    assert line.endswith("missing, NaN or infinite features in 1 row; mend or drop them; the first is row 1,701")
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.glob("*out*")) + list(tmp_path.glob(".*partial*"))
    with raymu.open_run(run.location) as opened, pytest.raises(DataInvalid, match=r"row 1,701"):
        opened.evaluate_file(str(tmp_path / "bad.parquet"))


KILLED = """
import os, sys
import raymu
from raymu.service import table_prediction
table_prediction._sync = lambda path: os.kill(os.getpid(), 9)
raymu.open_run(sys.argv[1], trust=True).predict_file(sys.argv[2], sys.argv[3])
"""


def test_a_killed_process_leaves_an_earlier_file_as_it_was(run: TrainedRun, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("earlier")
    words = [sys.executable, "-c", KILLED, str(run.location), str(tmp_path / "many.parquet"), str(out)]
    assert subprocess.run(words, check=False).returncode == -9
    assert out.read_text() == "earlier"
