"""`cluster.fleet: auto` works in this process where Ray does not pay, with the same bits, and on Ray where it is needed."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raymu
from raymu import api
from raymu.backends import ChosenBackend, LocalBackend, RayBackend, backend_of
from raymu.core.fleet_choice import FleetChoice, FleetWork, forecast_fleet
from raymu.core.trust import EVERYTHING
from raymu.errors import DeviceUnavailable
from raymu.service.coordinator.calls import Revoke, Settle
from raymu.service.coordinator.expected_work import work_of
from raymu.service.phase import phases_timed
from raymu.service.prediction import Ensemble
from raymu.service.requests.revocation import Revocation
from raymu.service.table_prediction import PredictedPart, predict_here, rows_to_predict
from tests.support.examples import make_config, served_weights, write_samples


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide a cluster that is up on this machine."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    write_samples(place / "all.parquet")
    for fleet in ("auto", "local"):
        config = make_config(place / "all.parquet", cluster={"fleet": fleet}, training={"device": "cpu"})
        with phases_timed() as times, raymu.train(config, place / fleet):
            pass
        if fleet == "auto":
            assert times.fleet is not None
            assert (times.fleet.fleet, times.fleet.is_forecast) == ("local", True)
            assert {"reading the data", "training", "publishing and purging"} <= set(times.seconds())
    return place


def chosen(folder: Path, **settings: Any) -> ChosenBackend:
    """Return the backend of the run `auto`, with other cluster settings."""
    run = api.open_run(folder / "auto", trust=True)
    backend = backend_of(run._store, replace(run.cluster, **settings), EVERYTHING)
    assert isinstance(backend, ChosenBackend)
    return backend


def test_the_bits_are_those_of_this_process(folder: Path) -> None:
    assert served_weights(folder / "auto") == served_weights(folder / "local")


def test_settings_that_need_ray_imply_it(folder: Path) -> None:
    assert chosen(folder).choose(None).fleet == "local"
    for name, value in {"workers_per_shard": 2, "gpus_per_shard": 0.5, "placement": "spread"}.items():
        choice = chosen(folder, **{name: value}).choose(None)
        assert (choice.fleet, choice.reason) == ("ray", f"cluster.{name} needs it")
    assert chosen(folder, address="10.0.0.1:6379").choose(None).fleet == "ray"


def test_configured_fleets_are_followed(folder: Path) -> None:
    run = api.open_run(folder / "auto", trust=True)
    assert isinstance(backend_of(run._store, replace(run.cluster, fleet="ray"), EVERYTHING), RayBackend)
    assert isinstance(backend_of(run._store, replace(run.cluster, fleet="local"), EVERYTHING), LocalBackend)


def test_work_follows_from_the_call(folder: Path) -> None:
    store = api.open_run(folder / "auto", trust=True)._store
    single = work_of(store, Revoke(revocations=(Revocation(ids=(1000,)),)))
    owners = work_of(store, Revoke(revocations=(Revocation(owner="owner-1"),)))
    assert (single.shards, owners.shards) == (1, 2)
    assert 0.0 < single.seconds < owners.seconds
    assert work_of(store, Settle()) == FleetWork(shards=0, seconds=0.0)


def test_ray_that_only_the_forecast_chose_and_cannot_start_is_done_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise DeviceUnavailable("Ray cannot be started on this machine")

    monkeypatch.setattr(RayBackend, "open_client", refuse)
    monkeypatch.setattr("raymu.backends.usable_cpus", lambda: 8)
    monkeypatch.setattr(
        "raymu.service.coordinator.expected_work.work_of", lambda *_: FleetWork(shards=2, seconds=1000.0)
    )
    with phases_timed() as times:
        chosen(folder).open_client().close()
    assert times.fleet is not None
    assert "cannot be started" in str(times.fleet)
    with pytest.raises(DeviceUnavailable):
        chosen(folder, workers_per_shard=2).open_client()


def test_rows_are_predicted_where_the_first_of_them_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymu.data.predictions._MOST_ROWS", 1024)
    write_samples(folder / "many.parquet", samples=2500)
    backend = chosen(folder)
    rows, ensemble = rows_to_predict(backend.store, str(folder / "many.parquet")), Ensemble.current(backend.store)
    starts: list[int] = []

    def on_ray(_backend: RayBackend, _rows: object, _ensemble: object, start: int) -> Iterator[PredictedPart]:
        starts.append(start)
        yield from predict_here(rows, ensemble, start, start + 1024)
        raise DeviceUnavailable("the cluster is gone")

    monkeypatch.setattr(RayBackend, "predict", on_ray)
    whole = np.concatenate([part.predictions for part in predict_here(rows, ensemble)])
    for seconds in (0.0, 1e4):
        monkeypatch.setattr("raymu.backends.forecast_fleet", partial(_forecast, seconds))
        parts = [part.predictions for part in backend.predict(rows, ensemble)]
        assert [len(part) for part in parts] == [1024, 1024, 452]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert starts == [1024]


def _forecast(seconds: float, work: FleetWork, *, workers: int) -> FleetChoice:
    assert work.shards == 2
    return forecast_fleet(FleetWork(shards=work.shards, seconds=seconds), workers=max(2, workers))
