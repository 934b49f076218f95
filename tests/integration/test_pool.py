"""Actors that find no room hold nobody up."""

import asyncio
from pathlib import Path

import pytest

from raymu.runtime import pool
from raymu.runtime.actors import RayFleet
from raymu.service.coordinator import Coordinator
from raymu.service.ingest import create_run
from raymu.store.run import RunStore
from tests.examples import repaired_weights, silent, train_run, write_samples
from tests.integration.test_ray import config_on_ray
from tests.integration.victims import SHARD, own_processes


@pytest.mark.usefixtures("ray_cluster", "room_for_one")
def test_a_fleet_makes_do_with_the_actors_that_found_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which may be less patient than an actor."""
    monkeypatch.setattr(pool, "PATIENCE_S", 0.1)
    write_samples(tmp_path / "all.parquet", samples=400)
    config = config_on_ray(tmp_path / "all.parquet", live_actors=3)
    create_run(config, str(tmp_path / "run"))
    store = RunStore(str(tmp_path / "run"))

    async def train() -> None:
        fleet = RayFleet(store)
        coordinator = Coordinator(store, fleet)
        await fleet.warm_up()
        assert len(own_processes(SHARD)) == 1
        await coordinator.train(silent)
        await coordinator.close()

    asyncio.run(asyncio.wait_for(train(), timeout=60))
    train_run(config, tmp_path / "calm")
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "calm")
