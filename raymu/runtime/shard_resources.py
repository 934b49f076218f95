"""The resources that a shard actor requests, and how many such actors fit on given nodes. Nothing here calls Ray."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raymu.config import ClusterConfig
from raymu.errors import DeviceUnavailable

Resources = Mapping[str, float]
"""Amounts by Ray's names of resources. Memory is in bytes."""

_GB = 10**9
_ACCELERATOR_SHARE = 0.001
"""The amount that Ray requests of the resource that marks a node's type of accelerator."""


def shard_bundle(cluster: ClusterConfig) -> dict[str, float]:
    """Return the resources that a shard actor takes from its node, or each of its ranks if it has several."""
    amounts: dict[str, float] = {
        "CPU": cluster.cpus_per_shard,
        "GPU": cluster.gpus_per_shard,
        "memory": round(cluster.memory_gb_per_shard * _GB),
        **cluster.resources_per_shard,
    }
    if cluster.accelerator:
        amounts[f"accelerator_type:{cluster.accelerator}"] = _ACCELERATOR_SHARE
    return {name: amount for name, amount in amounts.items() if amount}


def shard_capacity(nodes: Sequence[Resources], cluster: ClusterConfig) -> int:
    """Return how many shard actors fit at once.

    An actor stays on one node. If several ranks train a shard, they may be on several nodes.

    Args:
        nodes: The resources of each node.
        cluster: What each actor needs, and how many actors are allowed.

    Raises:
        DeviceUnavailable: None fits, and the cluster does not grow.
    """
    if cluster.autoscaling and cluster.live_actors:
        return cluster.live_actors
    bundle = shard_bundle(cluster)
    ranks = cluster.workers_per_shard
    count = sum(_count_on(node, bundle) for node in nodes) // ranks
    if count < 1:
        raise DeviceUnavailable(
            f"a shard asks for {_listed(bundle, bundle)}{f' for each of its {ranks} workers' if ranks > 1 else ''}, "
            f"the cluster's nodes have {_summary(nodes, bundle)}; "
            "lower what cluster asks for each shard, choose another cluster or, if this one grows by itself, set "
            "cluster.autoscaling and cluster.live_actors"
        )
    return min(count, cluster.live_actors or count)


def room_wanted(cluster: ClusterConfig, free: Resources, all_of_it: Resources) -> str | None:
    """Say what a shard asks for and how much of it is free; None if enough is, so that a shard is about to start.

    Args:
        cluster: What each shard needs.
        free: What is free on all nodes together.
        all_of_it: What all nodes have together.
    """
    bundle = shard_bundle(cluster)
    ranks = cluster.workers_per_shard
    if all(free.get(name, 0.0) >= amount * ranks for name, amount in bundle.items()):
        return None
    each = f" for each of its {ranks} workers" if ranks > 1 else ""
    shares = ", ".join(f"{_listed(free, [name])} of {_listed(all_of_it, [name])}" for name in bundle)
    return f"a shard asks for {_listed(bundle, bundle)}{each}; free on the cluster: {shares}"


def actor_options(cluster: ClusterConfig) -> dict[str, Any]:
    """Return Ray's options of a shard actor. If several ranks train a shard, they take its resources."""
    return task_options(cluster) if cluster.workers_per_shard == 1 else {"num_cpus": 0}


def uses_placement_groups(cluster: ClusterConfig) -> bool:
    """Whether a fleet reserves room, which a lost coordinator leaves behind."""
    return cluster.placement != "any" or cluster.workers_per_shard > 1


def task_options(cluster: ClusterConfig) -> dict[str, Any]:
    """Return Ray's options of a process that trains by itself: with the resources of a shard, or of one of its ranks."""
    bundle = shard_bundle(cluster)
    return {
        "num_cpus": cluster.cpus_per_shard,
        "num_gpus": cluster.gpus_per_shard,
        "memory": bundle.get("memory"),
        "resources": dict(cluster.resources_per_shard),
        "accelerator_type": cluster.accelerator,
    }


def backend_of(cluster: ClusterConfig, *, is_cuda: bool) -> str:
    """Return the torch.distributed backend for the ranks of a shard.

    NCCL needs a whole GPU for each rank. Ranks that share a GPU exchange tensors in main memory.

    Args:
        cluster: The resources of each rank.
        is_cuda: Whether every rank computes on a GPU.
    """
    return "nccl" if is_cuda and cluster.gpus_per_shard >= 1 else "gloo"


def _count_on(node: Resources, bundle: Resources) -> int:
    return min(_times(name, node.get(name, 0.0), amount) for name, amount in bundle.items())


def _times(name: str, available: float, amount: float) -> int:
    """Return how often an amount can be taken from one resource of a node."""
    # The small addend is for fractions such as 0.1, which do not add up to 1 in binary.
    if name == "GPU" and amount < 1:  # Ray takes a fraction from one GPU, never from two
        return math.floor(available) * math.floor(1 / amount + 1e-9)
    return math.floor(available / amount + 1e-9)


def _summary(nodes: Sequence[Resources], bundle: Resources) -> str:
    """List equal nodes once: a cluster may have hundreds."""
    kinds = Counter(_listed(node, bundle) for node in nodes)
    return "; ".join(kind if count == 1 else f"{kind} ({count} of them)" for kind, count in kinds.items()) or "nothing"


def _listed(amounts: Resources, names: Iterable[str]) -> str:
    return ", ".join(
        f"{amounts.get(name, 0.0) / _GB:g} GB of memory" if name == "memory" else f"{amounts.get(name, 0.0):g} {name}"
        for name in names
    )
