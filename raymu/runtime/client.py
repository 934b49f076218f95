"""A run's coordinator as its client sees it: an actor on a cluster, its own or one that stays up."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, cast

import ray
from ray.exceptions import RayError, RayTaskError

from raymu.config import ClusterConfig, UnlearningConfig
from raymu.core.receipt import Receipt
from raymu.errors import CoordinatorLost
from raymu.runtime.cluster import is_head_there, join_cluster, leave_cluster
from raymu.runtime.coordinator_actor import CoordinatorActor
from raymu.runtime.detached_coordinator import find_standing, standing_name
from raymu.runtime.fleet import first_sentence, unwrap
from raymu.runtime.nodes import this_node
from raymu.runtime.placement_group import remove_reservation
from raymu.service.coordinator.calls import RebuildReport, SettleReport, TrainingReport
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.service.shard.messages import Progress, ShardLocations, StageProgress
from raymu.store.run import RunStore

CLOSE_S = 30.0
"""How long a coordinator has to end by itself."""
_ANSWER_S = 10.0
"""How long it has to say where its shards live, which is worth no longer wait."""
_WATCH_S = 2.0
"""How often it is looked whether the head is there while a report is waited for."""
_HEAD_S = 10.0
"""How long the head may be gone: one that keeps its state elsewhere comes back, and Ray connects to it again."""


class RayClient:
    """The run's standing coordinator, where it is up; else starts one, and stops what it started on closing."""

    def __init__(self, location: str, cluster: ClusterConfig) -> None:
        """Raises DeviceUnavailable where the cluster is not there, or has no room; RunInvalid."""
        self._run_id = RunStore(location).manifest.run_id if cluster.placement != "any" else None
        name = standing_name(location)
        self._own: Any = None
        join_cluster(cluster.address)
        try:
            self._actor: Any = find_standing(name) or self._started()
            with translate_ray_errors():
                ray.get(self._actor.open.remote(location))
        except BaseException:
            self.close()
            raise

    def warm_up(self) -> None:
        """Start the shard actors, and wait for them."""
        with translate_ray_errors():
            ray.get(self._actor.warm_up.remote())

    def train(self, progress: Progress) -> TrainingReport:
        return cast(TrainingReport, _last(self._actor.train.remote(), progress))

    def revoke(self, asked: list[Revocation], progress: Progress) -> list[Receipt]:
        return cast(list[Receipt], _last(self._actor.revoke.remote(asked), progress))

    def submit(self, asked: list[Revocation], progress: Progress) -> list[SubmissionResult]:
        return cast(list[SubmissionResult], _last(self._actor.submit.remote(asked), progress))

    def settle(self, progress: Progress, due_by: datetime | None) -> SettleReport:
        return cast(SettleReport, _last(self._actor.settle.remote(due_by), progress))

    def rebuild(self, progress: Progress, data: str | None) -> RebuildReport:
        return cast(RebuildReport, _last(self._actor.rebuild.remote(data), progress))

    def configure(self, unlearning: UnlearningConfig) -> None:
        with translate_ray_errors():
            ray.get(self._actor.configure.remote(unlearning))

    def places(self) -> ShardLocations:
        """Raises CoordinatorLost."""
        return places_of(self._actor)

    def close(self) -> None:
        if self._own and ray.is_initialized() and is_head_there():
            end_coordinator(self._own)
            if self._run_id:  # Ray would keep what a lost coordinator reserved for as long as this process lives
                remove_reservation(self._run_id)
        leave_cluster()

    def _started(self) -> Any:
        """Beside its client, where a journal in SQLite lies too: no other node can take it away."""
        self._own = CoordinatorActor.options(num_cpus=0, scheduling_strategy=this_node()).remote()
        return self._own


def places_of(actor: Any) -> ShardLocations:
    """Where a coordinator's shards live. Raises CoordinatorLost."""
    with translate_ray_errors():
        return cast(ShardLocations, ray.get(actor.places.remote(), timeout=_ANSWER_S))


def end_coordinator(actor: Any) -> None:
    """Have it leave its run, and be gone."""
    with suppress(RayError):  # it may be gone already, or hang
        ray.get(actor.close.remote(), timeout=CLOSE_S)
    ray.kill(actor)


def _last(stream: Any, progress: Progress) -> Any:
    """Follow a stream of reports to its end. returns: the last one"""
    report: Any = None
    with translate_ray_errors():
        for reference in _watched(stream):
            report = ray.get(reference)
            if isinstance(report, StageProgress):
                progress(report)
    return report


def _watched(stream: Any) -> Iterator[Any]:
    """The references of a stream. Raises CoordinatorLost once the cluster's head is gone for a while."""
    last_seen = time.monotonic()
    while True:
        ready, _ = ray.wait([stream], timeout=_WATCH_S)
        if ready:
            try:
                yield next(stream)
            except StopIteration:
                return
        if ready or is_head_there():
            last_seen = time.monotonic()
        elif time.monotonic() - last_seen > _HEAD_S:
            raise CoordinatorLost("the head of the cluster does not answer")


@contextmanager
def translate_ray_errors() -> Iterator[None]:
    """What the coordinator refused, without Ray's wrapping. Raises CoordinatorLost where its actor is gone."""
    try:
        yield
    except RayTaskError as error:
        raise unwrap(error) from None
    except RayError as error:
        raise CoordinatorLost(first_sentence(error)) from error
