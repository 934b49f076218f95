"""A run's coordinator as its client sees it: an actor, on a cluster that is joined or started for the occasion."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

import ray
from ray.exceptions import RayError, RayTaskError

from raymu.config import ClusterConfig
from raymu.core.receipt import Receipt
from raymu.errors import DeviceUnavailable
from raymu.runtime.actors import CoordinatorActor, cause
from raymu.runtime.placement import shard_capacity
from raymu.service.coordinator import SettleReport, TrainingReport
from raymu.service.requests import Revocation
from raymu.service.work import Progress, StageTrained

Report = TypeVar("Report")


class RayCoordinator:
    """Starts the run's coordinator actor, and stops what it started on closing."""

    def __init__(self, location: str, cluster: ClusterConfig) -> None:
        """Raises DeviceUnavailable where the cluster is not there, or has no room; RunInvalid."""
        self._has_joined = join_cluster(cluster)
        self._actor: Any = CoordinatorActor.options(num_cpus=0).remote()
        try:
            ray.get(self._actor.open.remote(location))
        except RayTaskError as error:
            self.close()
            raise cause(error) from None

    def warm_up(self) -> None:
        """Start the shard actors, and wait for them."""
        ray.get(self._actor.warm_up.remote())

    def train(self, progress: Progress) -> TrainingReport:
        return cast(TrainingReport, _last(self._actor.train.remote(), progress))

    def revoke(self, asked: list[Revocation], progress: Progress) -> list[Receipt]:
        return cast(list[Receipt], _last(self._actor.revoke.remote(asked), progress))

    def settle(self, progress: Progress) -> SettleReport:
        return cast(SettleReport, _last(self._actor.settle.remote(), progress))

    def close(self) -> None:
        if not ray.is_initialized():
            return
        with suppress(RayError):  # it may be gone already
            ray.get(self._actor.close.remote())
        ray.kill(self._actor)
        if self._has_joined:
            ray.shutdown()


@contextmanager
def cluster_connection(cluster: ClusterConfig) -> Iterator[None]:
    """Stay connected while several runs are worked on. Raises DeviceUnavailable."""
    has_joined = join_cluster(cluster)
    try:
        yield
    finally:
        if has_joined:
            ray.shutdown()


def join_cluster(cluster: ClusterConfig) -> bool:
    """Connect to the cluster, or start one. returns: whether this process was not connected before

    Raises DeviceUnavailable where it is not there, or has no room for a shard.
    """
    if ray.is_initialized():
        shard_capacity(ray.cluster_resources(), cluster)  # type: ignore[no-untyped-call]
        return False
    if cluster.address:
        _require_reachable(cluster.address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(
            address=cluster.address,
            include_dashboard=None if cluster.address else False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DeviceUnavailable(
            f"cluster.address {cluster.address}: cannot be joined ({reason}); "
            "if it asks for a token, set RAY_AUTH_MODE=token and the token's file or variable"
        ) from error
    try:
        shard_capacity(ray.cluster_resources(), cluster)  # type: ignore[no-untyped-call]
    except DeviceUnavailable:
        ray.shutdown()
        raise
    return True


def _require_reachable(address: str) -> None:
    """Ray itself would wait many minutes for a head that is not there. Raises DeviceUnavailable."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        return  # a name such as auto, which Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise DeviceUnavailable(
            f"cluster.address {address}: nothing answers there ({error}); start Ray there"
        ) from error


def _last(stream: Any, progress: Progress) -> Any:
    """Follow a stream of reports to its end. returns: the last one"""
    report: Any = None
    try:
        for reference in stream:
            report = ray.get(reference)
            if isinstance(report, StageTrained):
                progress(report)
    except RayTaskError as error:
        raise cause(error) from None
    return report
