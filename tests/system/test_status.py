"""The accuracy of forecasts in the status."""

import os
from dataclasses import fields, replace
from pathlib import Path

import pytest

import raymu
from raymu.core.records import Remedy
from raymu.errors import RunInvalid
from raymu.service.audit.report import WorstSample
from raymu.service.shard.messages import ShardLocation, StageProgress
from raymu.service.status import status
from raymu.store.presence import Presence
from raymu.store.run import RunStore
from raymu.training.own_process import has_other_threads
from tests.support.coordinated_run import ids_at
from tests.support.examples import create_run, make_config, revoke, train_run, write_samples


def test_status_compares_forecasts_with_the_actual_costs(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    run, store = train_run(config, tmp_path / "run"), RunStore(str(tmp_path / "run"))
    assert status(store).paces == {}
    late, early = ids_at(config, shard=0, slice_index=2), ids_at(config, shard=1, slice_index=0)
    parts = [revoke(run, [late[place]], strategy="sisa").shards[0] for place in range(3)]
    parts.append(revoke(run, early[:2], strategy="dpus").shards[0])
    paces = status(store).paces
    assert set(paces) == {Remedy.RETRAIN, Remedy.PATCH}
    retrained = paces[Remedy.RETRAIN]
    assert retrained.remedies == 3
    assert retrained.seconds == pytest.approx(sum(part.seconds for part in parts[:3]))
    assert retrained.forecast_seconds == pytest.approx(sum(part.forecast_seconds for part in parts[:3]))
    assert retrained.low < 1.0 < retrained.high, "what is known of the bias is in the forecast already"
    assert 0 <= retrained.within <= 3


def test_records_of_json_documents_keep_the_names_of_version_0_1() -> None:
    assert [field.name for field in fields(ShardLocation)] == [
        "node",
        "node_id",
        "device",
        "gpus",
        "workers",
        "is_at_work",
    ]
    assert {field.name for field in fields(WorstSample)} == {
        "shard",
        "keyed_hash",
        "loss",
        "likelihood",
        "epsilon",
    }


def test_during_a_training_status_says_who_trains_and_not_to_settle(tmp_path: Path) -> None:
    lines: list[str] = []

    def progress(_stage: StageProgress) -> None:
        assert not has_other_threads(), "signs of life are given without disturbing the training"
        with pytest.raises(RunInvalid) as refused:
            raymu.open_run(tmp_path / "run").status()
        lines.append(str(refused.value))

    write_samples(tmp_path / "all.parquet")
    with raymu.train(make_config(tmp_path / "all.parquet"), tmp_path / "run", progress=progress) as run:
        assert run.status().coordinator is None
    assert all(f"is being trained (by process {os.getpid()} on" in line for line in lines)
    assert lines
    assert "settle" not in lines[0]


def test_status_names_a_coordinator_that_is_up_and_none_that_has_ended(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    create_run(make_config(tmp_path / "all.parquet"), tmp_path / "run")
    store = RunStore(str(tmp_path / "run"))
    here = Presence.of_this_process(is_detached=True, address="127.0.0.1:6379")
    store.presence.announce(here)
    assert status(store).coordinator == here
    store.presence.announce(replace(here, started="another time"))
    assert status(store).coordinator is None or here.started is None
