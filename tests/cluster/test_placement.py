"""The placement of a fleet's actors: reservations, and locations in the status."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray

import raymu
from raymu.console.run_tables import show_status
from raymu.console.screen import Screen
from raymu.errors import CoordinatorLost
from raymu.runtime import shard_actor_pool as pool
from raymu.runtime.fleet import RayFleet
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import ShardLocations, StageProgress, no_progress
from raymu.store.codec import to_tree
from raymu.store.run import RunStore
from tests.support.examples import repaired_weights, train_run, write_samples
from tests.support.processes import COORDINATOR, SHARD, TwoNodes, own_processes
from tests.support.ray_runs import config_on_ray, placement_group_states

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def other_node() -> Iterator[TwoNodes]:
    node = TwoNodes(num_cpus=4, resources={"slot": 2})
    yield node
    node.close()


@pytest.mark.usefixtures("other_node")
@pytest.mark.parametrize(("placement", "nodes"), [("spread", 2), pytest.param("pack", 1, marks=pytest.mark.nightly)])
def test_actors_are_spread_or_packed_until_they_are_idle(tmp_path: Path, placement: str, nodes: int) -> None:
    write_samples(tmp_path / "all.parquet", samples=400)
    config = config_on_ray(tmp_path / "all.parquet", shards=8, live_actors=2, placement=placement)
    prepare_run(config, str(tmp_path / "run")).write()

    async def trained() -> ShardLocations:
        store = RunStore(str(tmp_path / "run"))
        fleet = RayFleet(store, idle_s=1.0)
        coordinator = Coordinator(store, fleet)
        await fleet.warm_up()
        await coordinator.train(no_progress)
        places = await fleet.locations()
        assert placement_group_states() == ["CREATED"]
        while await fleet.locations() or placement_group_states() or own_processes(SHARD):
            await asyncio.sleep(0.1)
        await coordinator.close()
        return places

    places = asyncio.run(asyncio.wait_for(trained(), timeout=60))
    assert len(places) == 2
    assert len({place.node_id for place in places.values()}) == nodes
    train_run(config, tmp_path / "calm")
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "calm")


@pytest.mark.usefixtures("room_for_one")
def test_a_group_that_finds_no_room_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven of eight CPUs are occupied, and Ray places all bundles or none."""
    monkeypatch.setattr(pool, "START_TIMEOUT_S", 1.0)
    write_samples(tmp_path / "all.parquet", samples=400)
    config = config_on_ray(tmp_path / "all.parquet", live_actors=3, placement="spread")
    prepare_run(config, str(tmp_path / "run")).write()

    async def train() -> None:
        store = RunStore(str(tmp_path / "run"))
        coordinator = Coordinator(store, RayFleet(store))
        await coordinator.train(no_progress)
        assert placement_group_states() == []
        await coordinator.close()

    asyncio.run(asyncio.wait_for(train(), timeout=60))
    train_run(config, tmp_path / "calm")
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "calm")


@pytest.mark.nightly
def test_the_reservation_of_a_lost_coordinator_is_removed(tmp_path: Path) -> None:
    """It had reserved all eight CPUs, so the next coordinator needs them released."""
    forget = write_samples(tmp_path / "all.parquet", samples=400)["id"].to_pylist()[:30]

    def kill_coordinator(_stage: StageProgress) -> None:
        for victim in own_processes(COORDINATOR):
            os.kill(victim.pid, signal.SIGKILL)

    config = config_on_ray(tmp_path / "all.parquet", cpus_per_shard=4, live_actors=2, placement="pack")
    with raymu.train(config, tmp_path / "run") as run, pytest.raises(CoordinatorLost):
        run.revoke(forget, strategy="sisa", progress=kill_coordinator)
    with raymu.open_run(tmp_path / "run") as again:
        again.settle()
    train_run(config, tmp_path / "calm", exclude=forget)
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "calm")


def test_status_shows_the_location_of_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(tmp_path / "all.parquet", samples=400)
    config = config_on_ray(tmp_path / "all.parquet", live_actors=2, gpus_per_shard=1)
    with raymu.train(config, tmp_path / "run") as run:
        places = run.locations()
        [node] = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        assert {place.gpus for place in places.values()} == {("0",), ("1",)}
        assert {(place.node, place.node_id) for place in places.values()} == {(node["NodeName"], node["NodeID"])}
        status = run.status(locations=places)
        assert {shard.shard: shard.place for shard in status.shards if shard.place} == places
        shown = to_tree(status)["shards"]
        assert sorted(shard["shard"] for shard in shown if shard["place"]) == sorted(places)
        show_status(Screen(), status)
        printed = capsys.readouterr().out
        assert printed.count(f"{node['NodeName']}, GPU ") == 2
        assert printed.count("disk") == 2
    assert run.locations() == {}
    show_status(Screen(), run.status())
    assert "disk" not in capsys.readouterr().out


@pytest.mark.nightly
def test_more_than_the_present_resources_is_requested_of_an_autoscaling_cluster(tmp_path: Path) -> None:
    """No node has the resources of a shard until a second node joins."""
    write_samples(tmp_path / "all.parquet", samples=400)
    config = config_on_ray(tmp_path / "all.parquet", live_actors=2, resources_per_shard={"slot": 1}, autoscaling=True)
    with ThreadPoolExecutor() as threads:
        training = threads.submit(raymu.train, config, tmp_path / "run")
        while not (tmp_path / "run" / "journal.sqlite").exists():
            time.sleep(0.05)
        node = TwoNodes(num_cpus=4, resources={"slot": 2})
        try:
            run = training.result(timeout=60)
            assert {place.node_id for place in run.locations().values()} == {node.node_id}
            run.close()
        finally:
            node.close()
