"""The nodes of the cluster that is joined: the room that they have, and which of them this process is on."""

from dataclasses import replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raymu.config import ClusterConfig
from raymu.runtime.placement import shard_capacity


def capacity(cluster: ClusterConfig) -> int:
    """Shard actors that the cluster has room for. Raises DeviceUnavailable where it has none for a single one."""
    return shard_capacity([node["Resources"] for node in _living_nodes()], cluster)


def this_node(*, is_preferred: bool = False) -> NodeAffinitySchedulingStrategy:
    """Where the process that asks is; what is placed there starts nowhere else. is_preferred: or elsewhere, if need be"""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=is_preferred)


def require_room_here(cluster: ClusterConfig) -> str:
    """returns: the id of this process's node. Raises DeviceUnavailable where it has no room for a shard."""
    here: str = ray.get_runtime_context().get_node_id()
    [node] = [node for node in _living_nodes() if node["NodeID"] == here]
    shard_capacity([node["Resources"]], replace(cluster, autoscaling=False))
    return here


def node_names() -> dict[str, str]:
    """By Ray's id; a node that was given no name has its address instead."""
    return {node["NodeID"]: node["NodeName"] for node in _living_nodes()}


def _living_nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
