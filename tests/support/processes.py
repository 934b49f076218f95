"""The processes of a test's own cluster: finding and killing them."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from raymu.runtime.coordinator_actor import CoordinatorService
from raymu.runtime.data_parallel import DataParallelShard, RankWorker
from raymu.runtime.detached_coordinator import DetachedCoordinator
from raymu.runtime.shard_actor import ShardService
from tests.support.ray_internals import local_node

COORDINATOR, DETACHED, SHARD, DATA_PARALLEL_SHARD, RANK = (
    f"ray::{actor.__name__}"
    for actor in (CoordinatorService, DetachedCoordinator, ShardService, DataParallelShard, RankWorker)
)
"""Names that Ray gives to the processes of raymu's actors."""


def own_processes(name: str, *, under: int | None = None) -> list[psutil.Process]:
    """Return the processes of clusters that this process started, because the machine may run others.

    Args:
        name: Part of a process's title.
        under: The id of another process, to search its children instead.
    """
    processes = []
    for process in psutil.Process(under).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name in process.name():
                processes.append(process)
    return processes


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Actors:
    """The actors of this process's clusters."""

    def find(self, victim: str) -> list[int]:
        """Return the ids of processes to kill together. There may be none now.

        Args:
            victim: "coordinator" or "shard".
        """
        if victim == "coordinator":
            return [process.pid for process in own_processes(COORDINATOR)]
        shards = own_processes(SHARD)
        running = [process for process in shards if process.name().endswith(".run")]
        return [process.pid for process in (running or shards)[-1:]]

    def recover(self) -> None:
        """Start again what was killed and does not restart by itself."""


class TwoNodes(Actors):
    """The actors, and a second node beside the one that `ray.init` started in this process."""

    def __init__(self, **resources: Any) -> None:
        self._resources = resources
        self._cluster = Cluster()  # if it started the first node, other programs on this machine would find and join it
        self._cluster.head_node = local_node()
        self._start()

    @property
    def node_id(self) -> str:
        """Ray's id of the second node."""
        return str(self._node.node_id)

    def find(self, victim: str) -> list[int]:
        """Accept two more victims: "node", with all its processes, and "raylet", which leaves its workers for a while."""
        if victim not in ("node", "raylet"):
            return super().find(victim)
        if self._raylet.poll() is not None:
            return []
        children = psutil.Process(self._raylet.pid).children(recursive=True) if victim == "node" else []
        return [self._raylet.pid, *(child.pid for child in children)]

    def recover(self) -> None:
        if not self.find("raylet"):
            self.close()
            self._start()

    def close(self) -> None:
        """Stop the second node, and wait until Ray has noticed and places no more actors there."""
        self._cluster.remove_node(self._node)
        while any(node["Alive"] and node["NodeID"] == self._node.node_id for node in ray.nodes()):  # type: ignore[no-untyped-call]
            time.sleep(0.2)

    def _start(self) -> None:
        self._node = self._cluster.add_node(True, **self._resources)
        self._raylet = self._node.all_processes["raylet"][0].process
