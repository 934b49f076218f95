"""The processes of a test's own cluster: how they are found, and killed."""

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
    """Of clusters that this process started, or another one: the machine may run more. under: its id"""
    found = []
    for process in psutil.Process(under).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name in process.name():
                found.append(process)
    return found


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Actors:
    """The actors of this process's clusters."""

    def find(self, victim: str) -> list[int]:
        """victim: coordinator or shard. returns: processes to be killed together; none where there is no such now"""
        if victim == "coordinator":
            return [one.pid for one in own_processes(COORDINATOR)]
        shards = own_processes(SHARD)
        at_work = [one for one in shards if one.name().endswith(".run")]
        return [one.pid for one in (at_work or shards)[-1:]]

    def recover(self) -> None:
        """Start again what was killed and does not come back by itself."""


class TwoNodes(Actors):
    """And a second node beside the one that `ray.init` started here."""

    def __init__(self, **resources: Any) -> None:
        self._resources = resources
        self._cluster = Cluster()  # had it started the first node, every other program here would find and join it
        self._cluster.head_node = local_node()
        self._start()

    @property
    def node_id(self) -> str:
        """Of the second node, as Ray has it."""
        return str(self._node.node_id)

    def find(self, victim: str) -> list[int]:
        """victim: also node, with all that runs on it, or raylet, which leaves its workers behind for a while"""
        if victim not in ("node", "raylet"):
            return super().find(victim)
        if self._raylet.poll() is not None:
            return []
        children = psutil.Process(self._raylet.pid).children(recursive=True) if victim == "node" else []
        return [self._raylet.pid, *(one.pid for one in children)]

    def recover(self) -> None:
        if not self.find("raylet"):
            self.close()
            self._start()

    def close(self) -> None:
        """Stop the second node, and wait until Ray knows: it would still place actors there."""
        self._cluster.remove_node(self._node)
        while any(node["Alive"] and node["NodeID"] == self._node.node_id for node in ray.nodes()):  # type: ignore[no-untyped-call]
            time.sleep(0.2)

    def _start(self) -> None:
        self._node = self._cluster.add_node(True, **self._resources)
        self._raylet = self._node.all_processes["raylet"][0].process
