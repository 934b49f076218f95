"""A run's standing coordinator as its users see it: it is brought up, asked where shards live, and taken down."""

import time

import ray

from raymu.config import ClusterConfig
from raymu.errors import CoordinatorLost
from raymu.runtime.client import CLOSE_S, end_coordinator, places_of, translate_ray_errors
from raymu.runtime.cluster import existing_cluster, is_cluster_there
from raymu.runtime.detached_coordinator import find_standing, standing_name, start_standing
from raymu.service.shard.messages import ShardLocations


def start_coordinator(location: str, cluster: ClusterConfig) -> bool:
    """Start a run's standing coordinator. returns: whether it was up already

    Raises DeviceUnavailable where there is no cluster that stays, or it has no room; RunInvalid, CoordinatorLost.
    """
    name = standing_name(location)
    with existing_cluster(cluster.address):
        actor, is_new = start_standing(name, location)
        try:
            with translate_ray_errors():
                ray.get(actor.open.remote(location))
        except BaseException:
            if is_new:
                ray.kill(actor)
            raise
    return not is_new


def stop_coordinator(location: str, cluster: ClusterConfig) -> bool:
    """End a run's standing coordinator, and its shard actors with it. returns: whether it was up

    Raises DeviceUnavailable where there is no cluster that stays; RunInvalid, CoordinatorLost where it does not end.
    """
    name = standing_name(location)
    with existing_cluster(cluster.address):
        actor = find_standing(name)
        if actor is None:
            return False
        end_coordinator(actor)
        patience = time.monotonic() + CLOSE_S
        while find_standing(name) == actor:
            if time.monotonic() > patience:
                raise CoordinatorLost("it was told to end, and its cluster still names it")
            time.sleep(0.1)
    return True


def detached_locations(location: str, cluster: ClusterConfig) -> ShardLocations:
    """Where a run's standing coordinator says that its shards live; nothing where it is not up. Starts nothing.

    Raises DeviceUnavailable where the cluster that is named is not there; RunInvalid, CoordinatorLost.
    """
    if not is_cluster_there(cluster.address):
        return {}
    with existing_cluster(cluster.address):
        actor = find_standing(standing_name(location))
        return places_of(actor) if actor else {}
