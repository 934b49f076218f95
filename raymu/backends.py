"""The two places where a run's work is done: this process, and a Ray cluster.

Each method imports what it needs, because PyTorch and Ray take seconds to import and most commands need neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from raymu.config import ClusterConfig
from raymu.core.trust import EVERYTHING, Trust
from raymu.core.verdict import Verdict
from raymu.errors import CoordinatorLost, RequestInvalid
from raymu.service.shard.messages import ShardLocations

if TYPE_CHECKING:
    from raymu.service.audit.audit import RunTasks
    from raymu.service.coordinator.client import CoordinatorClient
    from raymu.service.requests.revocation import Revocation


class Backend(Protocol):
    """Starts one run's coordinator, detached coordinator and audit tasks."""

    def open_client(self, first: Sequence[Revocation] = ()) -> CoordinatorClient:
        """Connect to the run's detached coordinator, or start one that takes the run over.

        Args:
            first: Requests of the first call. The run is not taken over if one of them is refused.

        Raises:
            RaymuError: DeviceUnavailable, RunInvalid, or what refuses a request.
        """
        ...

    def audit_runner(self) -> AbstractContextManager[RunTasks]:
        """Return a context whose value runs the training tasks of an audit. Raises DeviceUnavailable."""
        ...

    def start(self) -> bool:
        """Start a detached coordinator. Return whether one was running. Raises RequestInvalid, DeviceUnavailable."""
        ...

    def stop(self) -> bool:
        """Stop the detached coordinator. Return whether one was running. Raises RequestInvalid, DeviceUnavailable."""
        ...

    def locations(self) -> ShardLocations:
        """Return the shards that a detached coordinator's actors have in memory, without starting anything."""
        ...

    def count_verdict(self, check: str, verdict: Verdict) -> bool:
        """Count a verdict in the metrics of the run's detached coordinator. Return whether one is up for it.

        Raises DeviceUnavailable.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalBackend:
    """This process."""

    location: str
    trust: Trust = EVERYTHING

    def open_client(self, first: Sequence[Revocation] = ()) -> CoordinatorClient:
        from raymu.service.coordinator.client import LocalClient

        return LocalClient(self.location, first, trust=self.trust)

    def audit_runner(self) -> AbstractContextManager[RunTasks]:
        from raymu.service.audit.audit import one_after_another

        return nullcontext(one_after_another)

    def start(self) -> bool:
        raise self._no_cluster()

    def stop(self) -> bool:
        raise self._no_cluster()

    def locations(self) -> ShardLocations:
        return {}

    def count_verdict(self, check: str, verdict: Verdict) -> bool:  # noqa: ARG002
        """Return False: this process has no metrics."""
        return False

    def _no_cluster(self) -> RequestInvalid:
        return RequestInvalid(
            "this run has no cluster (cluster.fleet is local), so it cannot have a detached coordinator"
        )


@dataclass(frozen=True, slots=True)
class RayBackend:
    """A Ray cluster."""

    location: str
    cluster: ClusterConfig
    trust: Trust = EVERYTHING
    take_over: bool = False
    """Whether the run is taken over from a detached coordinator of another cluster too."""

    def open_client(self, first: Sequence[Revocation] = ()) -> CoordinatorClient:
        from raymu.runtime.client import RayClient

        return RayClient(self.location, self.cluster, first, trust=self.trust, take_over=self.take_over)

    def audit_runner(self) -> AbstractContextManager[RunTasks]:
        from raymu.runtime.audit import audit_runner

        return audit_runner(self.cluster)

    def start(self) -> bool:
        from raymu.runtime.client import start_coordinator

        return start_coordinator(self.location, self.cluster, trust=self.trust, take_over=self.take_over)

    def stop(self) -> bool:
        from raymu.runtime.client import stop_coordinator

        return stop_coordinator(self.location, self.cluster)

    def locations(self) -> ShardLocations:
        from raymu.runtime.known_cluster import may_find_cluster

        if not may_find_cluster(self.cluster.address):
            return {}
        from raymu.runtime.client import detached_locations

        with suppress(CoordinatorLost):
            return detached_locations(self.location, self.cluster)
        return {}

    def count_verdict(self, check: str, verdict: Verdict) -> bool:
        from raymu.runtime.known_cluster import may_find_cluster

        if not may_find_cluster(self.cluster.address):
            return False
        from raymu.runtime.client import count_verdict

        return count_verdict(self.location, self.cluster, check, verdict)


def backend_of(location: str, cluster: ClusterConfig, trust: Trust, *, take_over: bool = False) -> Backend:
    """Choose the backend of the run at a location.

    Args:
        location: The run.
        cluster: Its cluster settings.
        trust: The demands of the run that its coordinator follows.
        take_over: Take the run over from a detached coordinator of another cluster too.
    """
    if cluster.fleet == "local":
        return LocalBackend(location, trust)
    return RayBackend(location, cluster, trust, take_over)
