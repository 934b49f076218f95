"""Room for a fleet's actors: what the cluster has, or what is reserved together, spread over nodes or packed on few."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ray.util import get_placement_group, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from raymu.config import ClusterConfig
from raymu.errors import DeviceUnavailable
from raymu.runtime.nodes import capacity
from raymu.runtime.placement import actor_options, shard_bundle

STRATEGIES: Mapping[str, str] = {"spread": "SPREAD", "pack": "PACK"}
"""Ray's names for kinds of placement; any has none."""
FRESH_S = 5.0
"""How long the room that was counted is taken for what there is: counting asks the cluster's head."""


class PlacementGroupReservation:
    """A placement group with a bundle for each actor, made with the first one; none where any node will do.

    Ray moves the bundles of a lost node to others, as far as they have room. Where not one actor finds room that way, the
    reservation is given up: actors go wherever there is any, until it is released. It does not grow either: nodes that join
    are in the next one, while without one they count at once.
    """

    def __init__(self, cluster: ClusterConfig, *, run_id: str, most: int) -> None:
        """most: actors that there is work for at once. Raises DeviceUnavailable where there is no room for one"""
        self._cluster, self._run_id, self._most = cluster, run_id, most
        self._group: Any = None
        self._is_given_up = False
        self._count()

    @property
    def room(self) -> int:
        """Actors that there is room for at once; as many as there were at last, where it is none for the moment."""
        if not self.is_held and time.monotonic() - self._counted_at > FRESH_S:
            with suppress(DeviceUnavailable):
                self._count()
        return self._room

    @property
    def is_held(self) -> bool:
        return self._group is not None

    @property
    def is_placed(self) -> bool:
        """Whether every bundle has its node, so that actors will come up."""
        return self.is_held and placement_group_table(self._group)["state"] == "CREATED"

    def options(self) -> dict[str, Any]:
        """Options of an actor that goes there."""
        strategy = STRATEGIES.get(self._cluster.placement)
        if self._cluster.workers_per_shard > 1:  # Ray Train places them
            return actor_options(self._cluster)
        if strategy and not self.is_held and not self._is_given_up:
            self._group = self._made(strategy)
        options = actor_options(self._cluster)
        if self.is_held:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._group)
        elif strategy == "SPREAD":
            options["scheduling_strategy"] = strategy  # without a group Ray tries, and promises nothing
        return options

    def give_up(self) -> None:
        self.release()
        self._is_given_up = True

    def release(self) -> None:
        """Give the room back; actors that are there end."""
        if self.is_held:
            remove_placement_group(self._group)
        self._group, self._is_given_up = None, False

    def _made(self, strategy: str) -> Any:
        """As large as the nodes that are left allow."""
        remove_reservation(self._run_id)  # a coordinator that was lost left it behind
        try:
            self._count()
        except DeviceUnavailable:  # no node is left; one that comes is taken as it is
            return None
        bundles = [shard_bundle(self._cluster)] * min(self._most, self._room)
        return placement_group(bundles, strategy=strategy, name=_name_of(self._run_id))

    def _count(self) -> None:
        self._counted_at = time.monotonic()
        self._room = capacity(self._cluster)


def remove_reservation(run_id: str) -> None:
    """Give back the room that a run's coordinator has reserved, and holds although it is gone."""
    with suppress(ValueError):  # there is none
        remove_placement_group(get_placement_group(_name_of(run_id)))


def _name_of(run_id: str) -> str:
    return f"raymu-{run_id}"
