"""How many shard actors a cluster has room for, and what each of them asks for."""

import math
from collections.abc import Mapping
from typing import Any

from raymu.config import ClusterConfig
from raymu.errors import DeviceUnavailable


def shard_capacity(resources: Mapping[str, float], cluster: ClusterConfig) -> int:
    """Shard actors that may live at once. resources: of the cluster, by Ray's names.

    Raises DeviceUnavailable where not even one fits.
    """
    asked = {"CPU": cluster.cpus_per_shard, "GPU": cluster.gpus_per_shard}
    room = min(math.floor(resources.get(name, 0.0) / amount + 1e-9) for name, amount in asked.items() if amount)
    if room < 1:
        there = ", ".join(f"{resources.get(name, 0.0):g} {name}" for name in asked)
        raise DeviceUnavailable(
            f"a shard asks for {cluster.cpus_per_shard:g} CPU and {cluster.gpus_per_shard:g} GPU, the cluster has {there}; "
            "lower cluster.cpus_per_shard or cluster.gpus_per_shard, or choose another cluster"
        )
    return min(room, cluster.live_actors or room)


def actor_options(cluster: ClusterConfig) -> dict[str, Any]:
    """Options of a shard actor."""
    return {
        "num_cpus": cluster.cpus_per_shard,
        "num_gpus": cluster.gpus_per_shard,
        # Deterministic matrix products on CUDA need it before the first one.
        "runtime_env": {"env_vars": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}},
    }
