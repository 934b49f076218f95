"""The nodes of the connected cluster: how many shard actors fit on them, and which one this process is on."""

from dataclasses import replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raymu.config import ClusterConfig
from raymu.runtime.shard_resources import shard_capacity

_HEAD = "node:__internal_head__"
"""A resource that only the head has."""


def capacity(cluster: ClusterConfig) -> int:
    """Return how many shard actors fit on the cluster. The call waits for the cluster's head.

    Raises:
        DeviceUnavailable: None fits.
    """
    return shard_capacity([node["Resources"] for node in _living_nodes()], cluster)


def this_node(*, is_preferred: bool = False) -> NodeAffinitySchedulingStrategy:
    """Place an actor or a task on the node of this process, or elsewhere too if the node is only preferred."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=is_preferred)


def require_room_here(cluster: ClusterConfig) -> str:
    """Return the id of this process's node.

    Raises:
        DeviceUnavailable: The node has no room for a shard.
    """
    node_id: str = ray.get_runtime_context().get_node_id()
    [node] = [node for node in _living_nodes() if node["NodeID"] == node_id]
    shard_capacity([node["Resources"]], replace(cluster, autoscaling=False))
    return node_id


def address_resource() -> str:
    """Return the resource that only the nodes at the address of this process have. Ray Serve places replicas by it."""
    node_id: str = ray.get_runtime_context().get_node_id()
    [node] = [node for node in _living_nodes() if node["NodeID"] == node_id]
    [name] = [name for name in node["Resources"] if name.startswith("node:") and name != _HEAD]
    return str(name)


def is_head() -> bool:
    """Return whether the node of this process is the head of the cluster."""
    node_id: str = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == node_id and _HEAD in node["Resources"] for node in _living_nodes())


def node_names() -> dict[str, str]:
    """Return the nodes' names by Ray's ids. A node without a name has its address instead."""
    return {node["NodeID"]: node["NodeName"] for node in _living_nodes()}


def _living_nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
