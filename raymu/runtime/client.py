"""A run's coordinator as its client sees it: an actor, on a cluster that is joined or started for the occasion."""

import logging
import os
from typing import Any, TypeVar, cast

import ray
from ray.exceptions import RayTaskError

from raymu.config import ClusterConfig
from raymu.core.receipt import Receipt
from raymu.errors import DeviceUnavailable, RaymuError
from raymu.runtime.actors import CoordinatorActor
from raymu.service.coordinator import SettleReport, TrainingReport
from raymu.service.requests import Revocation
from raymu.service.work import Progress, StageTrained

Report = TypeVar("Report")


class RayCoordinator:
    """Starts the run's coordinator actor, and stops what it started on closing."""

    def __init__(self, location: str, cluster: ClusterConfig) -> None:
        """Raises DeviceUnavailable where the cluster is not there, or has no room; RunInvalid."""
        self._has_started_ray = _join(cluster)
        self._actor: Any = CoordinatorActor.options(num_cpus=0).remote(location)

    def train(self, progress: Progress) -> TrainingReport:
        return cast(TrainingReport, _last(self._actor.train.remote(), progress))

    def revoke(self, asked: list[Revocation], progress: Progress) -> list[Receipt]:
        return cast(list[Receipt], _last(self._actor.revoke.remote(asked), progress))

    def settle(self, progress: Progress) -> SettleReport:
        return cast(SettleReport, _last(self._actor.settle.remote(), progress))

    def wait_until_ready(self) -> int:
        """Wait for the coordinator. returns: the workers at hand"""
        try:
            return int(ray.get(self._actor.workers.remote()))
        except ray.exceptions.RayActorError as error:
            raise _refusal(error) from None

    def close(self) -> None:
        if not ray.is_initialized():
            return
        try:
            ray.get(self._actor.close.remote())
        except ray.exceptions.RayError:
            pass  # it is gone already
        ray.kill(self._actor)
        if self._has_started_ray:
            ray.shutdown()


def _join(cluster: ClusterConfig) -> bool:
    """Connect to the cluster. returns: whether this process was not connected before"""
    if ray.is_initialized():
        return False
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
            f"cluster.address {cluster.address}: no Ray cluster can be joined ({reason})"
        ) from error
    return True


def _last(stream: Any, progress: Progress) -> Any:
    """Follow a stream of reports to its end. returns: the last one"""
    report: Any = None
    try:
        for reference in stream:
            report = ray.get(reference)
            if isinstance(report, StageTrained):
                progress(report)
    except RayTaskError as error:
        if isinstance(error.cause, RaymuError):
            raise error.cause from None
        raise
    return report


def _refusal(error: ray.exceptions.RayActorError) -> BaseException:
    """Why the coordinator's constructor failed, without Ray's wrapping."""
    cause = error.__cause__ or getattr(error, "cause", None)
    return cause if isinstance(cause, RaymuError) else error
