"""Actors without room delay no work, a node that joins adds room, and closing a fleet ends all waiting."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import ray

from raymu.errors import CoordinatorLost, CoordinatorSuperseded, FileMissing
from raymu.runtime import coordinator_actor
from raymu.runtime import placement_group as reservation
from raymu.runtime import shard_actor_pool as pool
from raymu.runtime.fleet import RayFleet
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import RoomWait, StageProgress, TrainReport, no_progress
from raymu.store.run import RunStore
from tests.support.cluster_process import wait_until
from tests.support.examples import repaired_weights, train_run
from tests.support.processes import SHARD, TwoNodes, own_processes
from tests.support.ray_runs import config_on_ray, placement_group_states, train_commands, write_run

pytestmark = pytest.mark.usefixtures("ray_cluster")


def assert_trained(folder: Path) -> None:
    train_run(config_on_ray(folder / "all.parquet"), folder / "calm")
    assert repaired_weights(folder / "run") == repaired_weights(folder / "calm")


@pytest.mark.usefixtures("room_for_one")
def test_a_fleet_works_with_the_actors_that_have_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fleet is in this process, where the timeout can be shortened."""
    monkeypatch.setattr(pool, "START_TIMEOUT_S", 0.1)
    store = write_run(tmp_path, live_actors=3)

    async def train() -> None:
        fleet = RayFleet(store)
        coordinator = Coordinator(store, fleet)
        await fleet.warm_up()
        assert len(own_processes(SHARD)) == 1
        await coordinator.train(no_progress)
        await coordinator.close()

    asyncio.run(asyncio.wait_for(train(), timeout=60))
    assert_trained(tmp_path)


def test_a_fleet_without_room_says_what_it_waits_for_and_since_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "TELL_AFTER_S", 0.2)
    monkeypatch.setattr(pool, "TELL_EVERY_S", 0.1)
    store = write_run(tmp_path, cpus_per_shard=8)

    async def wait_for_room() -> list[RoomWait]:
        waits: list[RoomWait] = []
        fleet = RayFleet(store, on_wait=waits.append)
        warming = asyncio.ensure_future(fleet.warm_up())
        while len(waits) < 2:
            await asyncio.sleep(0.1)
        warming.cancel()
        await fleet.close()
        return waits

    class Other:
        """Another program's actor."""

    other: Any = ray.remote(num_cpus=1)(Other).remote()
    ray.get(other.__ray_ready__.remote())
    first, second = asyncio.run(asyncio.wait_for(wait_for_room(), timeout=60))[:2]
    ray.kill(other)
    assert first.since == second.since
    assert "a shard asks for 8 CPU; free on the cluster: 7 CPU of 8 CPU" in str(first)


def test_an_actor_that_was_started_for_expected_work_does_it(tmp_path: Path) -> None:
    store = write_run(tmp_path, cpus_per_shard=8)

    async def train() -> None:
        fleet = RayFleet(store)
        fleet.expect_work()
        fleet.expect_work()
        [expected] = fleet._pool._members
        coordinator = Coordinator(store, fleet)
        try:
            await coordinator.train(no_progress)
            assert fleet._pool._members == [expected]
        finally:
            await coordinator.close()

    asyncio.run(asyncio.wait_for(train(), timeout=60))


def test_the_log_names_the_run_that_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, object]] = []
    monkeypatch.setattr(
        coordinator_actor, "log_event", lambda event, **fields: lines.append({"event": event, **fields})
    )
    service = coordinator_actor.CoordinatorService()
    service._run_id = "a-run"  # as once it is open
    service._tell_of_waiting(RoomWait(since=datetime.now(UTC), room="a shard asks for 8 CPU"))
    [line] = lines
    assert (line["event"], line["run"]) == ("waiting_for_room", "a-run")


def test_a_node_that_joins_adds_room_for_actors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservation, "CAPACITY_TTL_S", 0.0)
    store = write_run(tmp_path, cpus_per_shard=5)

    async def train() -> None:
        fleet = RayFleet(store)
        coordinator = Coordinator(store, fleet)
        assert coordinator.workers == 1
        node = TwoNodes(num_cpus=5)
        try:
            await fleet.warm_up()  # else one may have trained all before the other is up
            await coordinator.train(no_progress)
            assert coordinator.workers == 2
            places = (await fleet.locations()).values()
            assert (len(places), node.node_id in {place.node_id for place in places}) == (2, True)
        finally:
            await coordinator.close()  # in a failure too: later tests count actors
            node.close()

    asyncio.run(asyncio.wait_for(train(), timeout=120))  # two actors and a node start
    assert_trained(tmp_path)


def test_a_closed_fleet_lets_work_end_and_refuses_waiters(tmp_path: Path) -> None:
    store = write_run(tmp_path, live_actors=1, placement="pack")

    async def train() -> Sequence[object]:
        fleet = RayFleet(store)
        closed: list[asyncio.Task[None]] = []

        def close(_stage: StageProgress) -> None:
            if not closed:
                closed.append(asyncio.ensure_future(fleet.close()))

        works = train_commands(store)
        done = await asyncio.gather(*(fleet.run(work, close) for work in works), return_exceptions=True)
        assert closed
        with pytest.raises(CoordinatorLost):
            await fleet.run(works[1], no_progress)
        return done

    first, *others = asyncio.run(asyncio.wait_for(train(), timeout=60))
    assert isinstance(first, TrainReport)
    assert [str(error) for error in others] == [str(CoordinatorLost("it has left the run"))] * 3
    wait_until(lambda: not (own_processes(SHARD) or placement_group_states()), "nothing is left")


def test_callers_of_a_superseded_coordinator_do_not_wait(tmp_path: Path) -> None:
    """It leaves the run like a detached coordinator that serves other clients at that moment."""
    store = write_run(tmp_path, live_actors=1)

    async def train() -> None:
        coordinator = Coordinator(store, RayFleet(store))
        left: list[asyncio.Task[None]] = []

        def leave(_stage: StageProgress) -> None:
            if not left:
                other = RunStore(str(tmp_path / "run"))
                Coordinator(other, LocalFleet(other))
                left.append(asyncio.ensure_future(coordinator.close()))

        with pytest.raises(CoordinatorSuperseded):
            await coordinator.train(leave)
        assert left

    asyncio.run(asyncio.wait_for(train(), timeout=60))


def test_a_fleet_closes_after_waiting_work_was_cancelled(tmp_path: Path) -> None:
    """`raymu stop` during training does this: it cancels, and closes at once."""
    store = write_run(tmp_path, live_actors=1)

    async def train() -> None:
        fleet = RayFleet(store)
        begun = asyncio.Event()
        training = asyncio.gather(*(fleet.run(work, lambda _stage: begun.set()) for work in train_commands(store)))
        await begun.wait()
        training.cancel()
        await fleet.close()
        with pytest.raises(asyncio.CancelledError):
            await training

    asyncio.run(asyncio.wait_for(train(), timeout=60))
    wait_until(lambda: not own_processes(SHARD), "nothing is left")


def test_after_a_failed_shard_those_that_wait_for_an_actor_are_not_trained(tmp_path: Path) -> None:
    store = write_run(tmp_path, live_actors=1)
    store.files.delete(store.manifest.tables[0].path)

    async def train() -> None:
        coordinator = Coordinator(store, RayFleet(store))
        with pytest.raises(FileMissing, match="samples/0000-"):
            await coordinator.train(no_progress)
        assert store.files.walk("shards") == store.files.walk("reports") == []
        await coordinator.close()

    asyncio.run(asyncio.wait_for(train(), timeout=60))


def test_a_waiter_that_is_cancelled_when_it_gets_an_actor_returns_it(tmp_path: Path) -> None:
    store = write_run(tmp_path, live_actors=1)

    async def take_turns() -> None:
        fleet = RayFleet(store)
        first, second, third, _ = train_commands(store)
        async with fleet._pool.acquire(first.shard):
            waiting, gone = (asyncio.ensure_future(fleet.run(work, no_progress)) for work in (second, third))
            await asyncio.sleep(0)
            gone.cancel()
        waiting.cancel()  # at this moment the actor is its own, and it has not run since
        assert isinstance(await fleet.run(first, no_progress), TrainReport)
        assert len(own_processes(SHARD)) == 1
        await fleet.close()

    asyncio.run(asyncio.wait_for(take_turns(), timeout=60))
