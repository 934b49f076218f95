"""Room for a fleet's actors: counted on the cluster's nodes, or reserved in Ray's placement groups."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from ray.util import get_placement_group, placement_group, placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from raymu.config import ClusterConfig
from raymu.errors import DeviceUnavailable
from raymu.runtime.nodes import capacity
from raymu.runtime.shard_resources import actor_options, shard_bundle

STRATEGIES: Mapping[str, str] = {"spread": "SPREAD", "pack": "PACK"}
"""Ray's strategy for each kind of placement. `any` has none."""
CAPACITY_TTL_S = 5.0
"""How long a counted capacity is used before it is counted again. Counting is a call to the cluster's head."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActorSpace:
    """Where one actor is to start."""

    options: Mapping[str, Any]
    """Options of the actor."""
    own_group: PlacementGroup | None = None
    """A placement group for this actor and its rank workers alone. It has to be removed with the actor."""


class PlacementGroupReservation:
    """The room that a fleet may use, in one of three ways.

    With `placement: any`, nothing is reserved: actors start wherever there is room, and a node that joins counts at once.
    With `spread` or `pack`, one placement group has a bundle for each actor. It is created with the first actor, and does
    not grow. Ray moves the bundles of a lost node to other nodes that have room. If no actor can start in the group,
    the group is given up, and actors start wherever there is room until the reservation is released.
    If several rank workers train a shard, each actor has a placement group of its own, with a bundle for each rank.

    The constructor, `recount`, `reserve` and `is_ready` wait for the cluster's head. An event loop calls them in a thread.
    """

    def __init__(self, cluster: ClusterConfig, *, run_id: str, max_actors: int) -> None:
        """Count the capacity, which waits for the cluster's head.

        Args:
            cluster: What each actor needs, and how actors are placed.
            run_id: Names the placement groups, so that a later coordinator of the run finds them.
            max_actors: Actors that there is work for at once.

        Raises:
            DeviceUnavailable: The cluster has no room for an actor.
        """
        self._cluster, self._run_id, self._max_actors = cluster, run_id, max_actors
        self._strategy = STRATEGIES.get(cluster.placement)
        self._group: PlacementGroup | None = None
        self._is_given_up, self._is_swept = False, False
        self._lock = threading.Lock()  # the pool reserves for several actors at once, each in a thread
        self._count()

    @property
    def capacity(self) -> int:
        """Actors that fit at once, as last counted. It keeps its value while no actor fits."""
        return self._capacity

    @property
    def is_stale(self) -> bool:
        """Whether the capacity should be counted again. A placement group does not change its size."""
        return not self.exists and time.monotonic() - self._counted_at > CAPACITY_TTL_S

    @property
    def exists(self) -> bool:
        """Whether a placement group for the whole fleet exists."""
        return self._group is not None

    def recount(self) -> None:
        """Count the capacity again."""
        with suppress(DeviceUnavailable):
            self._count()

    def is_ready(self) -> bool:
        """Whether every bundle of the fleet's placement group has a node, so that actors will start."""
        group = self._group
        return group is not None and placement_group_table(group)["state"] == "CREATED"

    def reserve(self) -> ActorSpace:
        """Return the space of one more actor. The first call removes what a lost coordinator of the run reserved."""
        options = actor_options(self._cluster)
        with self._lock:
            if self._cluster.workers_per_shard > 1:
                return self._space_of_ranks(options)
            if self._strategy and not self.exists and not self._is_given_up:
                self._group = self._fleet_group(self._strategy)
        if self._group is not None:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._group)
        elif self._strategy == "SPREAD":
            options["scheduling_strategy"] = "SPREAD"  # without a group Ray only tries
        return ActorSpace(options=options)

    def give_up(self) -> None:
        """Remove the fleet's placement group, and let actors start anywhere until the next `release`."""
        self.release()
        self._is_given_up = True

    def release(self) -> None:
        """Remove the fleet's placement group. Ray ends the actors in it."""
        with self._lock:
            if self._group is not None:
                remove_placement_group(self._group)
            self._group, self._is_given_up = None, False

    def _space_of_ranks(self, options: dict[str, Any]) -> ActorSpace:
        self._sweep()
        bundles = [shard_bundle(self._cluster)] * self._cluster.workers_per_shard
        name = f"{_prefix(self._run_id)}-{uuid4().hex[:8]}"
        group = placement_group(bundles, strategy=self._strategy or "PACK", name=name)
        return ActorSpace(
            options=options | {"scheduling_strategy": PlacementGroupSchedulingStrategy(group)}, own_group=group
        )

    def _fleet_group(self, strategy: str) -> PlacementGroup | None:
        """Create a group as large as the present nodes allow, or return None if no node has room yet."""
        self._sweep()
        try:
            self._count()
        except DeviceUnavailable:
            return None
        bundles = [shard_bundle(self._cluster)] * min(self._max_actors, self._capacity)
        return placement_group(bundles, strategy=strategy, name=_prefix(self._run_id))

    def _sweep(self) -> None:
        if not self._is_swept:
            remove_reservations(self._run_id)
            self._is_swept = True

    def _count(self) -> None:
        self._counted_at = time.monotonic()
        self._capacity = capacity(self._cluster)


def remove_reservations(run_id: str) -> None:
    """Remove the placement groups of a run whose coordinator is gone. Ray would keep them as long as its job."""
    prefix = _prefix(run_id)
    for row in placement_group_table().values():
        if row["name"].startswith(prefix) and row["state"] != "REMOVED":
            with suppress(ValueError):  # it was removed in between, or belongs to another namespace
                remove_placement_group(get_placement_group(row["name"]))


def _prefix(run_id: str) -> str:
    return f"raymu-{run_id}"
