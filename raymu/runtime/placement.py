"""How many shard actors a cluster has room for, and what each of them asks for."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from raymu.config import ClusterConfig
from raymu.errors import DeviceUnavailable

Resources = Mapping[str, float]
"""Amounts by Ray's names; memory in bytes."""

_GB = 10**9
_ACCELERATOR_SHARE = 0.001
"""What Ray takes of the resource that marks a node's kind of accelerator."""


def shard_bundle(cluster: ClusterConfig) -> dict[str, float]:
    """What a shard actor takes of the node that it is on, and each of its workers where it has several."""
    asked: dict[str, float] = {
        "CPU": cluster.cpus_per_shard,
        "GPU": cluster.gpus_per_shard,
        "memory": round(cluster.memory_gb_per_shard * _GB),
        **cluster.resources_per_shard,
    }
    if cluster.accelerator:
        asked[f"accelerator_type:{cluster.accelerator}"] = _ACCELERATOR_SHARE
    return {name: amount for name, amount in asked.items() if amount}


def shard_capacity(nodes: Sequence[Resources], cluster: ClusterConfig) -> int:
    """Shard actors that may live at once. nodes: the resources of each; an actor stays on one node

    The workers of one actor may be on several nodes, and take what it would have taken.
    Raises DeviceUnavailable where not even one fits on a cluster that does not grow.
    """
    if cluster.autoscaling and cluster.live_actors:
        return cluster.live_actors
    asked = shard_bundle(cluster)
    workers = cluster.workers_per_shard
    room = sum(_room(node, asked) for node in nodes) // workers
    if room < 1:
        raise DeviceUnavailable(
            f"a shard asks for {_said(asked, asked)}{f' for each of its {workers} workers' if workers > 1 else ''}, "
            f"the cluster's nodes have {_shown(nodes, asked)}; "
            "lower what cluster asks for each shard, choose another cluster or, where this one grows by itself, set "
            "cluster.autoscaling and cluster.live_actors"
        )
    return min(room, cluster.live_actors or room)


def actor_options(cluster: ClusterConfig) -> dict[str, Any]:
    """Options of a shard actor. Where several workers train a shard, they take its resources, and the actor takes none."""
    return task_options(cluster) if cluster.workers_per_shard == 1 else {"num_cpus": 0}


def uses_placement_groups(cluster: ClusterConfig) -> bool:
    """Whether a fleet reserves room, which a lost coordinator leaves behind."""
    return cluster.placement != "any" or cluster.workers_per_shard > 1


def task_options(cluster: ClusterConfig) -> dict[str, Any]:
    """Options of a task that trains a model by itself, on the resources of a shard, or of one of its workers."""
    asked = shard_bundle(cluster)
    return {
        "num_cpus": cluster.cpus_per_shard,
        "num_gpus": cluster.gpus_per_shard,
        "memory": asked.get("memory"),
        "resources": dict(cluster.resources_per_shard),
        "accelerator_type": cluster.accelerator,
    }


def backend_of(cluster: ClusterConfig, *, is_cuda: bool) -> str:
    """How the workers of a shard meet. is_cuda: whether each computes on a GPU

    NCCL wants a whole GPU for each; those who share one meet in main memory.
    """
    return "nccl" if is_cuda and cluster.gpus_per_shard >= 1 else "gloo"


def _room(node: Resources, asked: Resources) -> int:
    return min(_times(name, node.get(name, 0.0), amount) for name, amount in asked.items())


def _times(name: str, had: float, amount: float) -> int:
    """How often an amount can be taken of one resource of a node."""
    # The tiny rest is for fractions such as 0.1, which do not add up to 1 in binary.
    if name == "GPU" and amount < 1:  # Ray takes a fraction from one GPU, never from two
        return math.floor(had) * math.floor(1 / amount + 1e-9)
    return math.floor(had / amount + 1e-9)


def _shown(nodes: Sequence[Resources], asked: Resources) -> str:
    """Equal nodes are told once: a cluster may have hundreds."""
    kinds = Counter(_said(node, asked) for node in nodes)
    return "; ".join(kind if count == 1 else f"{kind} ({count} of them)" for kind, count in kinds.items()) or "nothing"


def _said(amounts: Resources, names: Resources) -> str:
    return ", ".join(
        f"{amounts.get(name, 0.0) / _GB:g} GB of memory" if name == "memory" else f"{amounts.get(name, 0.0):g} {name}"
        for name in names
    )
