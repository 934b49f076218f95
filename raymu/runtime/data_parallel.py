"""A shard whose stages are trained by several processes: plain actors in one placement group, joined by torch.distributed.

Why not Ray Train? Its parts are replaced or unused here. `training.ranks` replaces DistributedDataParallel, whose order
of summation is not fixed, so that the bits equal those of a single process. The run keeps the checkpoints, with hashes,
so Ray Train's checkpoints have no use. What remains is to start workers, and to restart them after a loss. For that, Ray
Train needs one more actor per shard, and every stage would be returned through it. If that actor is killed, its placement
group stays reserved as long as the job lives, because Ray Train's cleaner needs Ray's dashboard, which a cluster may lack.
Here the coordinator's pool owns the placement group, and removes it with the shard's actor. The workers are children of
the shard's actor, so Ray ends them with it, and a stage's result is an item of a stream.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ray
import torch.distributed as dist
from ray.exceptions import RayError, RayTaskError
from ray.util import get_current_placement_group, get_node_ip_address
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # exported, but not listed

from raymu.config import ClusterConfig, Device
from raymu.errors import RankLost, WorkerLost
from raymu.runtime.ray_errors import first_sentence, unwrap
from raymu.runtime.ray_internals import as_remote
from raymu.runtime.shard_actor import ShardService
from raymu.runtime.shard_resources import backend_of, task_options
from raymu.service.shard.worker import ShardWorker
from raymu.store.run import RunStore
from raymu.text import one_line
from raymu.training.determinism import device_or_cpu
from raymu.training.ranks import DistributedRanks
from raymu.training.stages import StageResult, StageTask, train_stages

_ATTEMPTS = 4
"""How often ranks are started for a piece of work before WorkerLost is raised."""


class RankWorker:
    """One of the processes that train a shard together. It has no state that a replacement would need."""

    def uses_cuda(self, device: Device) -> bool:
        """Whether this process computes on a GPU. A process without the rank's resources cannot know."""
        return device_or_cpu(device).type == "cuda"

    def open_store(self, world_size: int) -> tuple[str, int]:
        """Open the store at which the ranks meet, in rank 0's process, and return its host and port."""
        host: str = get_node_ip_address()  # type: ignore[no-untyped-call]
        self._store = TCPStore(host, 0, world_size, is_master=True, wait_for_workers=False)  # 0: any free port
        return host, self._store.port

    def join(self, backend: str, host: str, port: int, rank: int, world_size: int) -> None:
        """Become a rank of the process group.

        Raises:
            RankLost: Another rank did not join.
        """
        try:
            if rank > 0:
                self._store = TCPStore(host, port, world_size, is_master=False)
            dist.init_process_group(backend, store=self._store, rank=rank, world_size=world_size)
        except RuntimeError as error:
            raise RankLost(one_line(error)) from error

    def train(self, task: StageTask, first: int, checkpoint: bytes | None) -> Iterator[StageResult]:
        """Train the stages from the first one on, after a checkpoint. Every rank has the same results."""
        yield from train_stages(replace(task, first=first, checkpoint=checkpoint), DistributedRanks())

    def follow(self, task: StageTask, first: int, checkpoint: bytes | None) -> None:
        """Train the same stages without returning them."""
        for _ in self.train(task, first, checkpoint):
            pass


RankActor: Any = as_remote(RankWorker)


class RankGroup:
    """The ranks of one shard, in the placement group of the shard's actor."""

    def __init__(self, cluster: ClusterConfig, device: Device) -> None:
        """Start the ranks and join them.

        Args:
            cluster: Resources of each rank, and their number.
            device: As configured for training.

        Raises:
            RayError: A rank was lost.
        """
        group, size = get_current_placement_group(), cluster.workers_per_shard
        assert group is not None, "the reservation starts a shard's actor in a placement group"
        self._ranks = [
            RankActor.options(
                **task_options(cluster),
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank),
            ).remote()
            for rank in range(size)
        ]
        try:
            is_cuda = all(ray.get([rank.uses_cuda.remote(device) for rank in self._ranks]))
            host, port = ray.get(self._ranks[0].open_store.remote(size))
            backend = backend_of(cluster, is_cuda=is_cuda)
            ray.get([worker.join.remote(backend, host, port, rank, size) for rank, worker in enumerate(self._ranks)])
        except BaseException:
            self.close()
            raise

    def train(self, task: Any, first: int, checkpoint: bytes | None) -> Iterator[StageResult]:
        """Yield the results of rank 0.

        Args:
            task: The stages, as a reference into Ray's object store.
            first: The stage to begin with.
            checkpoint: The state after the stage before, or None for the first stage.

        Raises:
            RayError: A rank was lost, or raised an error.
        """
        leader, *followers = self._ranks
        results = leader.train.remote(task, first, checkpoint)
        running: list[Any] = [results, *(rank.follow.remote(task, first, checkpoint) for rank in followers)]
        while running:
            ready: Any = ray.wait(running)[0][0]
            if ready is results:
                try:
                    result: StageResult = ray.get(next(ready))
                except StopIteration:
                    running.remove(results)
                else:
                    yield result
            else:
                ray.get(ready)  # raises what ended this rank early
                running.remove(ready)

    def close(self) -> None:
        """Kill the ranks, also in the middle of a stage."""
        for rank in self._ranks:
            ray.kill(rank)


class DataParallelShard(ShardService):
    """A shard's actor that leaves the training of stages to ranks.

    The ranks have the resources of the shard. So everything else runs on this actor's CPU: a patch, for example, which
    simulates the ranks one after the other.
    """

    _cluster: ClusterConfig
    _group: RankGroup | None = None

    def _make_worker(self, store: RunStore) -> ShardWorker:
        self._cluster = store.config.cluster
        return ShardWorker(store, self._train_by_ranks, device="cpu")

    def _train_by_ranks(self, task: StageTask) -> Iterator[StageResult]:
        """Train the stages. After a loss, new ranks train those that are left.

        The ranks stay for the next piece of work, unless the caller stops early: then they are in the middle of a stage.

        Raises:
            WorkerLost: Ranks were lost at every attempt.
            RaymuError: What training itself raises.
        """
        reference, first, checkpoint = ray.put(task), task.first, task.checkpoint
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._group = self._group or RankGroup(self._cluster, task.device)
                for result in self._group.train(reference, first, checkpoint):
                    yield result
                    first, checkpoint = result.stage + 1, result.checkpoint
                return
            except RayError as error:
                self._end_ranks()
                if isinstance(error, RayTaskError) and not isinstance(error.cause, RankLost):
                    raise unwrap(error) from None
                if attempt == _ATTEMPTS:
                    raise WorkerLost(task.shard, attempt, first_sentence(error)) from error
            except GeneratorExit:
                self._end_ranks()
                raise
        raise AssertionError("the last attempt returns or raises")

    def _end_ranks(self) -> None:
        if self._group:
            self._group.close()
        self._group = None
