"""The two places where a run's work is done: this process, and a Ray cluster.

Each method imports what it needs, because PyTorch and Ray take seconds to import and most commands need neither.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from raymu.config import ClusterConfig
from raymu.core import fleet_choice
from raymu.core.fleet_choice import FleetChoice, FleetWork, forecast_fleet, free_cpus
from raymu.core.trust import EVERYTHING, Trust
from raymu.core.verdict import LastVerdict
from raymu.errors import CoordinatorLost, DeviceUnavailable, RequestInvalid
from raymu.imports import imports_uncollected
from raymu.service.coordinator.calls import Call, Rebuild
from raymu.service.phase import STARTING_RAY, begin_phase, say_fleet
from raymu.service.shard.messages import ShardLocations
from raymu.store.run import RunStore

if TYPE_CHECKING:
    from collections.abc import Generator

    from raymu.data.row_stream import RowStream
    from raymu.data.table_stream import TableStream
    from raymu.service.audit.tasks import RunAuditTasks
    from raymu.service.coordinator.client import CoordinatorClient
    from raymu.service.placed_samples import PlacedRows
    from raymu.service.placement import Placement
    from raymu.service.prediction import Ensemble
    from raymu.service.requests.revocation import Revocation
    from raymu.service.table_prediction import PredictedPart


_AUDIT_TRAININGS = 8
"""Trainings of all shards that an audit is about as much work as, with its oracles and its control."""


class Backend(Protocol):
    """Starts one run's coordinator, detached coordinator and audit tasks."""

    def open_client(self, first: Sequence[Revocation] = (), call: Call[Any] | None = None) -> CoordinatorClient:
        """Connect to the run's detached coordinator, or start one that takes the run over.

        Args:
            first: Requests of the first call. The run is not taken over if one of them is refused.
            call: The first call, by which the fleet is chosen.

        Raises:
            RaymuError: DeviceUnavailable, RunInvalid, or what refuses a request.
        """
        ...

    def audit_runner(self) -> AbstractContextManager[RunAuditTasks]:
        """Return a context whose value runs the training tasks of an audit. Raises DeviceUnavailable."""
        ...

    def predict(self, rows: RowStream, ensemble: Ensemble, start: int = 0) -> Generator[PredictedPart]:
        """Predict the rows of a table, part after part in their order.

        Args:
            rows: The table.
            ensemble: What predicts.
            start: The first row, a multiple of the ensemble's batches.

        Raises:
            RaymuError: DataInvalid, or DeviceUnavailable.
        """
        ...

    def is_on_cluster(self, call: Call[Any]) -> bool:
        """Return whether a call would be carried out on a cluster."""
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

    def count_verdict(self, verdict: LastVerdict) -> bool:
        """Count a verdict in the metrics of the run's detached coordinator. Return whether one is up for it.

        Raises DeviceUnavailable.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalBackend:
    """This process."""

    location: str
    trust: Trust = EVERYTHING

    def open_client(self, first: Sequence[Revocation] = (), call: Call[Any] | None = None) -> CoordinatorClient:  # noqa: ARG002
        with imports_uncollected():
            from raymu.service.coordinator.client import LocalClient

        return LocalClient(self.location, first, trust=self.trust)

    def audit_runner(self) -> AbstractContextManager[RunAuditTasks]:
        from raymu.service.audit.tasks import one_after_another

        return nullcontext(one_after_another)

    def predict(self, rows: RowStream, ensemble: Ensemble, start: int = 0) -> Generator[PredictedPart]:
        from raymu.service.table_prediction import predict_here

        return predict_here(rows, ensemble, start)

    def is_on_cluster(self, call: Call[Any]) -> bool:  # noqa: ARG002
        return False

    def start(self) -> bool:
        raise self._no_cluster()

    def stop(self) -> bool:
        raise self._no_cluster()

    def locations(self) -> ShardLocations:
        return {}

    def count_verdict(self, verdict: LastVerdict) -> bool:  # noqa: ARG002
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

    def open_client(self, first: Sequence[Revocation] = (), call: Call[Any] | None = None) -> CoordinatorClient:  # noqa: ARG002
        begin_phase(STARTING_RAY)
        with imports_uncollected():
            from raymu.runtime.client import RayClient

        return RayClient(self.location, self.cluster, first, trust=self.trust, take_over=self.take_over)

    def audit_runner(self) -> AbstractContextManager[RunAuditTasks]:
        from raymu.runtime.audit import audit_runner

        return audit_runner(self.cluster)

    def predict(self, rows: RowStream, ensemble: Ensemble, start: int = 0) -> Generator[PredictedPart]:
        """Predict on the cluster. What is predicted at once is predicted here: one actor would do it."""
        from raymu.service.table_prediction import most_rows, predict_here

        if rows.count() - start <= most_rows(ensemble):
            return predict_here(rows, ensemble, start)
        from raymu.runtime.table_prediction import predict_on_ray

        store = RunStore(self.location, trust=self.trust)
        return predict_on_ray(rows, ensemble, start, store=store, cluster=self.cluster)

    def is_on_cluster(self, call: Call[Any]) -> bool:  # noqa: ARG002
        return True

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

    def count_verdict(self, verdict: LastVerdict) -> bool:
        from raymu.runtime.known_cluster import may_find_cluster

        if not may_find_cluster(self.cluster.address):
            return False
        from raymu.runtime.client import count_verdict

        return count_verdict(self.location, self.cluster, verdict)


@dataclass(frozen=True, slots=True)
class ChosenBackend:
    """This process or a Ray cluster, whichever a call is better off with (`cluster.fleet: auto`)."""

    store: RunStore
    on_ray: RayBackend

    def open_client(self, first: Sequence[Revocation] = (), call: Call[Any] | None = None) -> CoordinatorClient:
        """Open a client where the call is done. If Ray was only forecast to pay and cannot be started, do it here."""
        choice = self.choose(call)
        say_fleet(choice)
        local = LocalBackend(self.on_ray.location, self.on_ray.trust)
        if choice.fleet == "local":
            return local.open_client(first)
        try:
            return self.on_ray.open_client(first)
        except DeviceUnavailable as problem:
            if not choice.is_forecast:
                raise
            say_fleet(FleetChoice(fleet="local", reason=str(problem), is_forecast=True))
            return local.open_client(first)

    def audit_runner(self) -> AbstractContextManager[RunAuditTasks]:
        """Return what runs the tasks of an audit, which trains many models: as a training of the run, several times."""
        choice = self.choose(Rebuild(), times=_AUDIT_TRAININGS)
        say_fleet(choice)
        backend = LocalBackend(self.on_ray.location) if choice.fleet == "local" else self.on_ray
        return backend.audit_runner()

    def predict(self, rows: RowStream, ensemble: Ensemble, start: int = 0) -> Generator[PredictedPart]:
        """Predict a part here, and by the seconds that it took choose where the other rows are predicted."""
        local = LocalBackend(self.on_ray.location, self.on_ray.trust)
        total, parts, began_s = rows.count(), local.predict(rows, ensemble, start), time.monotonic()
        first = next(parts)
        seconds, done = time.monotonic() - began_s, start + len(first.predictions)
        yield first
        if done >= total:
            return
        size = len(first.predictions)
        work = FleetWork(shards=-(-(total - done) // size), seconds=seconds * (total - done) / size)
        choice = self._choose_for_rows(work)
        say_fleet(choice)
        if choice.fleet == "ray":
            parts.close()
            try:
                for part in self.on_ray.predict(rows, ensemble, done):
                    done += len(part.predictions)
                    yield part
                return
            except DeviceUnavailable as problem:
                if not choice.is_forecast:
                    raise
                say_fleet(FleetChoice(fleet="local", reason=str(problem), is_forecast=True))
                parts = local.predict(rows, ensemble, done)
        yield from parts

    def is_on_cluster(self, call: Call[Any]) -> bool:
        return self.choose(call).fleet == "ray"

    def start(self) -> bool:
        return self.on_ray.start()

    def stop(self) -> bool:
        return self.on_ray.stop()

    def locations(self) -> ShardLocations:
        return self.on_ray.locations() if self._is_detached else {}

    def count_verdict(self, verdict: LastVerdict) -> bool:
        return self._is_detached and self.on_ray.count_verdict(verdict)

    def _choose_for_rows(self, work: FleetWork) -> FleetChoice:
        """Choose where the rows of a table are predicted, of which one process can do all."""
        from raymu.runtime.known_cluster import joined_cluster

        cluster = self.on_ray.cluster
        if reason := joined_cluster(cluster.address):
            return FleetChoice(fleet="ray", reason=reason)
        return forecast_fleet(work, workers=int(usable_cpus() // cluster.cpus_per_shard))

    def choose(self, call: Call[Any] | None, *, times: int = 1) -> FleetChoice:
        """Choose the fleet of a call. None stands for a training.

        Args:
            call: What a coordinator is to do.
            times: How often it does so much.
        """
        from raymu.runtime.known_cluster import joined_cluster

        cluster = self.on_ray.cluster
        if reason := joined_cluster(cluster.address):
            return FleetChoice(fleet="ray", reason=reason)
        if setting := cluster.setting_for_ray:
            return FleetChoice(fleet="ray", reason=f"{setting} needs it")
        if self._is_detached and not self.on_ray.take_over:
            return FleetChoice(fleet="ray", reason="a coordinator of the run is up on a cluster")
        from raymu.service.coordinator.expected_work import work_of

        work = work_of(self.store, call)
        work = FleetWork(shards=work.shards * times, seconds=work.seconds * times)
        workers = int(usable_cpus() // cluster.cpus_per_shard)
        return forecast_fleet(work, workers=workers)

    @property
    def _is_detached(self) -> bool:
        """Whether a coordinator of the run is up on a cluster, or was when it was last heard of."""
        presence = self.store.presence.read()
        return presence is not None and presence.is_detached and not presence.is_cluster_gone


class PlaceOfRows:
    """Chooses where the samples of a new run are placed. Entered, it stays connected to a cluster that it joined."""

    def __init__(self, cluster: ClusterConfig) -> None:
        """Remember the settings of the new run's cluster."""
        self._cluster, self._stack = cluster, ExitStack()

    def __enter__(self) -> PlaceOfRows:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __call__(self, stream: TableStream, placement: Placement, store: RunStore) -> PlacedRows:
        """Return what places a table: a cluster only a large one. Raises DeviceUnavailable, DataInvalid."""
        if not (self._may_use_ray and stream.is_larger(placement.reading.columns, fleet_choice.INGEST_ON_RAY_BYTES)):
            from raymu.service.placed_here import rows_here

            return rows_here(stream, placement, store)
        from raymu.runtime.cluster import cluster_connection
        from raymu.runtime.ingest import RowsOnRay

        self._stack.enter_context(cluster_connection(self._cluster))
        return RowsOnRay(stream, placement, store)

    @property
    def _may_use_ray(self) -> bool:
        if self._cluster.fleet != "auto":
            return self._cluster.fleet == "ray"
        from raymu.runtime.known_cluster import joined_cluster

        return joined_cluster(self._cluster.address) is not None


def usable_cpus() -> float:
    """Return the CPUs that this process may use, without those that others compute on."""
    machine = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return free_cpus(usable=allowed, machine=machine, load=load)


def backend_of(store: RunStore, cluster: ClusterConfig, trust: Trust, *, take_over: bool = False) -> Backend:
    """Choose the backend of a run.

    Args:
        store: The run.
        cluster: Its cluster settings.
        trust: The demands of the run that its coordinator follows.
        take_over: Take the run over from a detached coordinator of another cluster too.
    """
    if cluster.fleet == "local":
        return LocalBackend(store.location, trust)
    on_ray = RayBackend(store.location, cluster, trust, take_over)
    return on_ray if cluster.fleet == "ray" else ChosenBackend(store, on_ray)
