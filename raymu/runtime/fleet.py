"""The actors: shards at work, and the coordinator; each a plain class, wrapped here."""

import asyncio
import re
from typing import Any

from ray.exceptions import RayError, RayTaskError

from raymu.config import ClusterConfig
from raymu.errors import RaymuError, WorkerLost
from raymu.runtime.nodes import node_names
from raymu.runtime.placement_group import PlacementGroupReservation
from raymu.runtime.ray_internals import as_remote
from raymu.runtime.shard_actor import ShardService
from raymu.runtime.shard_actor_pool import ShardActorPool
from raymu.service.shard.messages import Progress, ShardLocation, ShardLocations, StageProgress, Work, WorkReport
from raymu.store.run import RunStore
from raymu.text import one_line

ShardActor: Any = as_remote(ShardService)

_DRAWN = re.compile(r"\x1b\[[\d;]*m|\^{2,}")
"""Colours, and carets under a line of code."""
_ATTEMPTS = 4
"""How often a piece of work is given to an actor before its loss is reported: work may arrive twice."""
_IDLE_S = 10.0
"""How long a fleet keeps an actor without work: a next request finds it warm, another run does not wait long."""


class RayFleet:
    """Keeps as many shard actors as there is room for, and hands them shards in turn.

    The room changes as nodes come and go. A run's board reckons with what there was when its coordinator took the run over.
    """

    def __init__(self, store: RunStore, *, idle_s: float = _IDLE_S) -> None:
        """Raises DeviceUnavailable where the cluster has no room for a shard."""
        cluster, self._shards = store.config.cluster, store.config.partition.shards
        self._shard_workers = cluster.workers_per_shard
        self._reservation = PlacementGroupReservation(cluster, run_id=store.manifest.run_id, most=self._shards)
        self._pool = ShardActorPool(_shard_actor(cluster), store.location, self._reservation, idle_s=idle_s)

    @property
    def workers(self) -> int:
        """Actors that there is room for now."""
        return self._reservation.room

    @property
    def at_work(self) -> set[int]:
        return {one.shard for one in self._pool.holders() if one.is_at_work}

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        """Raises WorkerLost, CoordinatorLost once the fleet is closed, and what the work itself raises."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._pool.lent(work.shard) as actor:
                    return await _follow(actor, work, progress)
            except RayTaskError as error:
                raise unwrap(error) from None
            except RayError as error:
                if attempt == _ATTEMPTS:
                    raise WorkerLost(work.shard, attempt, first_sentence(error)) from error
        raise AssertionError("the last attempt returns or raises")

    async def warm_up(self) -> None:
        """Start as many actors as there is room and work for, and wait until they answer."""
        await self._pool.warm_up(self._shards)

    async def locations(self) -> ShardLocations:
        """Say which actor has which shard in memory."""
        names = await asyncio.to_thread(node_names)
        return {
            one.shard: ShardLocation(
                node=names.get(one.site.node_id, one.site.node_id),
                node_id=one.site.node_id,
                device=one.site.device,
                gpus=one.site.gpus,
                workers=self._shard_workers,
                is_at_work=one.is_at_work,
            )
            for one in self._pool.holders()
        }

    async def close(self) -> None:
        """Those that are at work end once they are done, or with their owner, the process that the fleet is in."""
        self._pool.close()


def _shard_actor(cluster: ClusterConfig) -> Any:
    if cluster.workers_per_shard == 1:
        return ShardActor
    from raymu.runtime.data_parallel import DataParallelShard  # Ray Train takes seconds to import

    return as_remote(DataParallelShard)


async def _follow(actor: Any, work: Work, progress: Progress) -> WorkReport:
    report: StageProgress | WorkReport | None = None
    async for reference in actor.run.remote(work):  # to its end: what is pinned for it in the actor is put back there
        report = await reference
        if isinstance(report, StageProgress):
            progress(report)
    if report is None or isinstance(report, StageProgress):
        raise AssertionError("a worker's last word is its report")
    return report


def unwrap(error: RayTaskError) -> BaseException:
    """What the actor's own code raised, without Ray's wrapping."""
    return error.cause if isinstance(error.cause, RaymuError) else error


def first_sentence(error: RayError) -> str:
    """Ray's first sentence; the rest is about its own processes, and drawn for a terminal."""
    return one_line(_DRAWN.sub("", str(error))).partition(". ")[0].rstrip(".")
