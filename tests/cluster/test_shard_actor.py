"""An actor that cannot open the run, fails, or continues after its report."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError

from raymu.errors import RaymuError, RunInvalid, TrainingFailed
from raymu.runtime.fleet import RayFleet, _follow
from raymu.runtime.nodes import node_names
from raymu.runtime.ray_errors import first_sentence
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import TrainTask, no_progress
from raymu.store.run import RunStore
from tests.support.examples import write_samples
from tests.support.ray_runs import config_on_ray, train_commands, write_run

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_a_node_that_cannot_see_the_run_is_named_in_one_line(tmp_path: Path) -> None:
    store = write_run(tmp_path, live_actors=1)
    work, *_ = train_commands(store)

    async def train() -> str:
        fleet = RayFleet(store)
        (tmp_path / "run").rename(tmp_path / "elsewhere")
        with pytest.raises(RunInvalid) as refusal:
            await fleet.run(work, no_progress)
        await fleet.close()
        return str(refusal.value)

    said = asyncio.run(asyncio.wait_for(train(), timeout=60))
    [node] = node_names().values()
    assert said.startswith(f"{tmp_path}/run: node {node} cannot open it (")
    assert said.isprintable()


def test_rays_message_about_an_actor_that_did_not_start_is_shown_without_terminal_art() -> None:
    class Unborn:
        def __init__(self) -> None:
            raise ValueError("there is no memory")

    unborn: Any = ray.remote(Unborn).remote()
    with pytest.raises(ActorDiedError) as death:
        ray.get(unborn.__ray_ready__.remote())
    assert "\x1b[" in str(death.value)
    said = first_sentence(death.value)
    assert said.startswith("The actor died because of an error raised in its creation task, ray::Unborn.__init__()")
    assert not any(mark in said for mark in ("x1b", "^^"))


def test_an_actor_is_kept_after_a_refusal_and_ended_after_a_failed_model(tmp_path: Path) -> None:
    """On a GPU, an error in a model may break later work of the process."""
    write_samples(tmp_path / "all.parquet", samples=400)
    config = config_on_ray(tmp_path / "all.parquet", live_actors=1)
    prepare_run(replace(config, training=replace(config.training, learning_rate=1e25)), str(tmp_path / "run")).write()
    store = RunStore(str(tmp_path / "run"))
    work, *_ = train_commands(store)

    async def shards_held_after(fleet: RayFleet, failing: TrainTask, error: type[RaymuError]) -> set[int]:
        with pytest.raises(error):
            await fleet.run(failing, no_progress)
        return set(await fleet.locations())

    async def fail() -> None:
        fleet = RayFleet(store)
        nowhere = replace(work.command.table, path="samples/nowhere.parquet")
        missing = replace(work, command=replace(work.command, table=nowhere))
        assert await shards_held_after(fleet, missing, RaymuError) == {0}
        assert await shards_held_after(fleet, work, TrainingFailed) == set()
        await fleet.close()

    asyncio.run(asyncio.wait_for(fail(), timeout=60))


def test_work_ends_only_once_its_actor_has_freed_its_memory() -> None:
    """Otherwise the next work would start with this work's state in memory, and lose it later."""

    class Lingering:
        def __init__(self) -> None:
            self._has_reported, self._may_leave = Event(), Event()

        def run(self, message: bytes) -> Iterator[str]:
            yield f"the report of {message.decode()}"
            self._has_reported.set()
            self._may_leave.wait()

        def wait_for_report(self) -> None:
            self._has_reported.wait()

        def leave(self) -> None:
            self._may_leave.set()

    async def follow() -> None:
        actor: Any = ray.remote(Lingering).options(num_cpus=0, max_concurrency=3).remote()
        following = asyncio.ensure_future(_follow(actor, b"shard 0", no_progress))
        await actor.wait_for_report.remote()
        assert await asyncio.wait({following}, timeout=0.5) == (set(), {following})
        await actor.leave.remote()
        assert str(await following) == "the report of shard 0"
        ray.kill(actor)

    asyncio.run(asyncio.wait_for(follow(), timeout=60))
