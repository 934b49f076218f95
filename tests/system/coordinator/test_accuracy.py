"""Accuracy over generations: each is measured while it is served, and no request waits for it."""

import logging
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raymu.api import open_run
from raymu.config import Config
from raymu.core.events import GenerationEvaluated
from raymu.errors import DataInvalid
from raymu.service.coordinator import accuracy as tracking
from raymu.service.history import replay
from raymu.service.ingest import prepare_run
from raymu.store.run import RunStore
from tests.support.coordinated_run import history_of, ids_at, journal_events, opened
from tests.support.examples import create_run, make_config, revoke, settle, train_run, write_samples


def tracked_config(folder: Path) -> Config:
    write_samples(folder / "all.parquet")
    pq.write_table(pq.read_table(folder / "all.parquet").slice(0, 50), folder / "test.parquet")
    return make_config(folder / "all.parquet", data={"test": str(folder / "test.parquet"), "track_accuracy": True})


def evaluations(location: Path) -> list[GenerationEvaluated]:
    return [event for event in journal_events(location) if isinstance(event, GenerationEvaluated)]


def test_the_last_generation_of_training_repair_and_settlement_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "SAMPLES_PER_TURN", 16)
    config, location = tracked_config(tmp_path), tmp_path / "run"
    run = train_run(config, location)
    revoke(run, ids_at(config)[:2], strategy="dpus")
    settle(run)
    settle(run)
    measured = evaluations(location)
    assert [evaluation.number for evaluation in measured] == [1, 3, 4]  # 2 was rewound
    current = open_run(location).evaluate_file(str(tmp_path / "test.parquet"))
    assert (measured[-1].samples, measured[-1].accuracy) == (50, current.accuracy)
    store = RunStore(str(location))
    assert replay(store.journal(is_read_only=True), store.manifest).evaluations == tuple(measured)


def test_a_request_is_purged_before_anything_is_measured(tmp_path: Path) -> None:
    config, location = tracked_config(tmp_path), tmp_path / "run"
    revoke(train_run(config, location), ids_at(config, shard=0)[:1], strategy="sisa")
    kinds = [event.kind for event in journal_events(location)]
    assert kinds[-4:] == ["repaired", "published", "purged", "evaluated"]


def test_a_failed_measurement_fails_no_request_and_is_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, location = tracked_config(tmp_path), tmp_path / "run"
    create_run(config, location)
    payload = (tmp_path / "test.parquet").read_bytes()
    (tmp_path / "test.parquet").unlink()
    with opened(location) as run, caplog.at_level(logging.WARNING):
        assert run.revoke(ids_at(config)[:1]).purged_at is not None
    assert "generation 3 was not measured" in caplog.text
    assert [evaluation.number for evaluation in evaluations(location)] == [1]
    (tmp_path / "test.parquet").write_bytes(payload)
    with opened(location) as run:
        run.settle()
    assert evaluations(location)[1].number >= 3


def test_accuracy_is_measured_only_if_configured(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    create_run(make_config(tmp_path / "all.parquet", data={"test": str(tmp_path / "all.parquet")}), tmp_path / "run")
    assert evaluations(tmp_path / "run") == []


def test_a_measured_generation_is_not_measured_again(tmp_path: Path) -> None:
    create_run(tracked_config(tmp_path), tmp_path / "run")
    before = history_of(tmp_path / "run")[0]
    with opened(tmp_path / "run") as run:
        run.settle()
    assert len(evaluations(tmp_path / "run")) == 1
    assert history_of(tmp_path / "run")[0] == before


@pytest.mark.parametrize(
    ("columns", "complaint"), [(["id", "features"], "has no labels"), (["label", "risk"], "has no column features")]
)
def test_unusable_test_data_is_refused_before_training(tmp_path: Path, columns: list[str], complaint: str) -> None:
    config = tracked_config(tmp_path)
    pq.write_table(pq.read_table(tmp_path / "test.parquet").select(columns), tmp_path / "test.parquet")
    with pytest.raises(DataInvalid, match=complaint):
        prepare_run(config, str(tmp_path / "run")).write()
    assert not (tmp_path / "run").exists()
