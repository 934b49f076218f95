"""The fleet on Ray: pieces of work for shard actors, which start as there is room for them."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from raymu.config import ClusterConfig
from raymu.errors import WorkerLost
from raymu.runtime.messages import MessageCipher
from raymu.runtime.nodes import node_names
from raymu.runtime.placement_group import PlacementGroupReservation
from raymu.runtime.ray_errors import first_sentence, unwrap
from raymu.runtime.ray_internals import as_remote
from raymu.runtime.shard_actor import ShardService
from raymu.runtime.shard_actor_pool import ShardActorPool
from raymu.runtime.shard_resources import room_wanted
from raymu.service.shard.lanes import LaneQueue, Take, follow_lane
from raymu.service.shard.messages import (
    Progress,
    RoomWait,
    ShardLocation,
    ShardLocations,
    StageProgress,
    Work,
    WorkReport,
)
from raymu.store.run import RunStore

ShardActor: Any = as_remote(ShardService)

_ATTEMPTS = 4
"""Most actors that a piece of work is tried on before WorkerLost is raised. Repeating is safe: finished work is
recognised by its report."""
_IDLE_S = 10.0
"""How long a fleet keeps an idle actor: long enough for the next request, and short enough for another run to wait."""


class RayFleet:
    """Keeps as many shard actors as there is room for, and gives each piece of work to one of them.

    The room changes as nodes come and go. The board does not follow these changes: it plans with the number of workers at
    the time the coordinator took the run over.
    """

    def __init__(
        self, store: RunStore, *, idle_s: float = _IDLE_S, on_wait: Callable[[RoomWait], None] = lambda _wait: None
    ) -> None:
        """Count the room, which waits for the cluster's head: on an event loop, call it in a thread.

        Args:
            store: The run.
            idle_s: How long an actor stays without work, in seconds.
            on_wait: Called, rarely, as long as the cluster has no room for any actor.

        Raises:
            DeviceUnavailable: The cluster has no room for a shard.
        """
        cluster, self._shards = store.config.cluster, store.config.partition.shards
        self._cipher = MessageCipher(store)
        self._workers_per_shard = cluster.workers_per_shard
        width = cluster.shards_per_lane
        self._most_actors = -(-self._shards // width)
        reservation = PlacementGroupReservation(cluster, run_id=store.manifest.run_id, max_actors=self._most_actors)
        self._cluster, self._on_wait = cluster, on_wait
        self._pool = ShardActorPool(
            _actor_class(cluster),
            store.location,
            reservation,
            idle_s=idle_s,
            trust=store.trust,
            on_wait=self._tell_of_waiting,
        )
        self._lanes = LaneQueue(width, alone=self._run_alone, together=self._run_lane) if width > 1 else None
        self._in_lanes: set[int] = set()

    @property
    def workers(self) -> int:
        """Actors that there is room for now."""
        return self._pool.capacity

    @property
    def running(self) -> set[int]:
        return self._in_lanes | {loaded.shard for loaded in self._pool.loaded_shards() if loaded.is_running}

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        """Have an actor do a piece of work, together with others of its lane that wait.

        Raises:
            WorkerLost: Each actor that the work was tried on was lost.
            CoordinatorLost: The fleet is closed.
            RaymuError: What the work itself raises.
        """
        return await (self._run_alone if self._lanes is None else self._lanes.run)(work, progress)

    async def _run_lane(self, shard: int, take: Take) -> None:
        async with self._pool.acquire(shard) as actor:
            entries = take()
            if len(entries) == 1:
                return
            shards = {entry.work.shard for entry in entries}
            self._in_lanes |= shards
            try:
                stream = actor.run_lane.remote(self._cipher.encrypt([entry.work for entry in entries]))

                async def following() -> StageProgress | WorkReport | None:
                    reference = await anext(stream, None)
                    return None if reference is None else await reference

                await follow_lane(entries, following)
            finally:
                self._in_lanes -= shards

    async def _run_alone(self, work: Work, progress: Progress) -> WorkReport:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._pool.acquire(work.shard) as actor:
                    return await _follow(actor, self._cipher.encrypt(work), progress)
            except RayTaskError as error:
                raise unwrap(error) from None
            except RayError as error:
                if attempt == _ATTEMPTS:
                    raise WorkerLost(work.shard, attempt, first_sentence(error)) from error
        raise AssertionError("the last attempt returns or raises")

    def expect_work(self) -> None:
        """Start an actor for work that is about to come, so that what is done before that takes place beside its start."""
        self._pool.expect_work()

    async def warm_up(self) -> None:
        """Start as many actors as there is room and work for, and wait until they answer."""
        await self._pool.warm_up(self._most_actors)

    async def locations(self) -> ShardLocations:
        """Return the location of each shard that an actor has in memory."""
        names = await asyncio.to_thread(node_names)
        return {
            loaded.shard: ShardLocation(
                node=names.get(loaded.location.node_id, loaded.location.node_id),
                node_id=loaded.location.node_id,
                device=loaded.location.device,
                gpus=loaded.location.gpus,
                workers=self._workers_per_shard,
                is_at_work=loaded.is_running,
            )
            for loaded in self._pool.loaded_shards()
        }

    async def close(self) -> None:
        """End the idle and starting actors. The others end after their work, or with the process that owns the fleet."""
        self._pool.close()

    async def _tell_of_waiting(self, since: datetime) -> None:
        free, all_of_it = await asyncio.to_thread(_resources)
        if room := room_wanted(self._cluster, free, all_of_it):
            self._on_wait(RoomWait(since=since, room=room))


def _resources() -> tuple[dict[str, float], dict[str, float]]:
    """Return what is free on all nodes together, and what they have. Waits for the cluster's head."""
    return ray.available_resources(), ray.cluster_resources()  # type: ignore[no-untyped-call]


def _actor_class(cluster: ClusterConfig) -> Any:
    if cluster.workers_per_shard == 1:
        return ShardActor
    from raymu.runtime.data_parallel import DataParallelShard  # here, as it needs PyTorch

    return as_remote(DataParallelShard)


async def _follow(actor: Any, work: bytes, progress: Progress) -> WorkReport:
    report: StageProgress | WorkReport | None = None
    async for reference in actor.run.remote(work):  # to the end, when the actor releases what it kept for the work
        report = await reference
        if isinstance(report, StageProgress):
            progress(report)
    if report is None or isinstance(report, StageProgress):
        raise AssertionError("a worker's last message is its report")
    return report
