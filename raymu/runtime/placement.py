"""How many shard actors a cluster has room for, and what each of them asks for."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from raymu.config import ClusterConfig
from raymu.errors import DeviceUnavailable


def shard_bundle(cluster: ClusterConfig) -> dict[str, float]:
    """What a shard actor takes of the node that it is on, and each of its workers where it has several."""
    asked = {"CPU": cluster.cpus_per_shard, "GPU": cluster.gpus_per_shard}
    return {name: amount for name, amount in asked.items() if amount}


def shard_capacity(nodes: Sequence[Mapping[str, float]], cluster: ClusterConfig) -> int:
    """Shard actors that may live at once. nodes: the resources of each node, by Ray's names; an actor stays on one node

    The workers of one actor may be on several nodes, and take what it would have taken.
    Raises DeviceUnavailable where not even one fits.
    """
    asked = {"CPU": cluster.cpus_per_shard, "GPU": cluster.gpus_per_shard}
    workers = cluster.workers_per_shard
    room = sum(_room(node, asked) for node in nodes) // workers
    if room < 1:
        there = "; ".join(", ".join(f"{node.get(name, 0.0):g} {name}" for name in asked) for node in nodes)
        raise DeviceUnavailable(
            f"a shard asks for {cluster.cpus_per_shard:g} CPU and {cluster.gpus_per_shard:g} GPU"
            f"{f' for each of its {workers} workers' if workers > 1 else ''}, "
            f"the cluster's nodes have {there or 'nothing'}; "
            "lower cluster.cpus_per_shard or cluster.gpus_per_shard, or choose another cluster"
        )
    return min(room, cluster.live_actors or room)


def _room(node: Mapping[str, float], asked: Mapping[str, float]) -> int:
    # The tiny rest is for fractions such as 0.1, which do not add up to 1 in binary.
    return min(math.floor(node.get(name, 0.0) / amount + 1e-9) for name, amount in asked.items() if amount)


def actor_options(cluster: ClusterConfig) -> dict[str, Any]:
    """Options of a shard actor."""
    return {"num_cpus": cluster.cpus_per_shard, "num_gpus": cluster.gpus_per_shard}
