"""`cluster.fleet: auto` works in this process where Ray does not pay, with the same bits, and on Ray where it is needed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import raymu
from raymu import api
from raymu.backends import ChosenBackend, LocalBackend, RayBackend, backend_of
from raymu.core.fleet_choice import FleetWork
from raymu.core.trust import EVERYTHING
from raymu.errors import DeviceUnavailable
from raymu.service.coordinator.calls import Revoke, Settle
from raymu.service.coordinator.expected_work import work_of
from raymu.service.phase import phases_timed
from raymu.service.requests.revocation import Revocation
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
