"""Joining a Ray cluster, or starting one for the occasion, and leaving it again."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray._private import services
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # Ray's types lack it
from ray.exceptions import AuthenticationError, RayError

from raymu.config import ClusterConfig
from raymu.errors import DeviceUnavailable
from raymu.runtime.nodes import capacity
from raymu.text import one_line

_door = threading.Lock()
"""Whoever comes or goes, while others do."""
_visits = 0
"""How many of this process's connections are open: Ray itself knows one connection per process."""
_own_job: str | None = None
"""Ray's id of the connection that raymu made, and has to close; another one is somebody else's."""


@contextmanager
def cluster_connection(cluster: ClusterConfig) -> Iterator[None]:
    """Stay connected while several runs are worked on. Raises DeviceUnavailable where there is no room for a shard, too."""
    join_cluster(cluster.address)
    try:
        capacity(cluster)
        yield
    finally:
        leave_cluster()


@contextmanager
def existing_cluster(address: str | None) -> Iterator[None]:
    """Connected to a cluster that others started. Raises DeviceUnavailable where there is none."""
    if not is_cluster_there(address):
        raise DeviceUnavailable(
            "there is no Ray cluster that stays; run `ray start --head`, or name one with --address"
        )
    join_cluster(address)
    try:
        yield
    finally:
        leave_cluster()


def join_cluster(address: str | None) -> None:
    """Connect to the cluster, or start one; every call needs a `leave_cluster`.

    Raises DeviceUnavailable, also where this process is connected to another cluster already.
    """
    global _visits, _own_job
    with _door:
        if ray.is_initialized():
            _require_connected(address)
        else:
            _connect(address)
            _own_job, _visits = _job(), 0
        _visits += 1


def leave_cluster() -> None:
    """The last one to leave disconnects, where raymu had connected."""
    global _visits, _own_job
    with _door:
        _visits -= 1
        if _visits == 0 and ray.is_initialized() and _own_job == _job():
            _own_job = None
            ray.shutdown()


def is_cluster_there(address: str | None) -> bool:
    """Whether a cluster is named, or one is up on this machine: Ray would start another, which ends with this process."""
    return ray.is_initialized() or _found(address) is not None


def is_head_there() -> bool:
    """Whether the cluster's head answers. Ray itself waits for it for a minute, and then ends this process."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def _job() -> str:
    job: str = ray.get_runtime_context().get_job_id()
    return job


def _found(address: str | None) -> str | None:
    """Where the cluster is that is named, or was left known on this machine; None where there is none."""
    if address not in (None, "auto", "local"):
        return address
    services.logger.setLevel(logging.ERROR)  # it warns where several are up, and joins the latest
    with suppress(ConnectionError, ValueError):
        found: str | None = services.canonicalize_bootstrap_address(address)  # type: ignore[arg-type]
        return found
    return address


def _require_connected(address: str | None) -> None:
    """Raises DeviceUnavailable where another cluster is named than the one that this process is connected to."""
    if address in (None, "auto", "local"):
        return
    _require_reachable(address)
    worker: Any = ray._private.worker.global_worker
    with suppress(RayError):  # it asks for another token, or is no cluster
        # Each cluster has an id. Addresses differ also where they mean the same: 127.0.0.1, a node's name, a service's.
        if GcsClient(address=address).cluster_id == worker.gcs_client.cluster_id:
            return
    here = ray.get_runtime_context().gcs_address
    raise DeviceUnavailable(
        f"cluster.address {address}: this process is connected to another Ray cluster, {here}, and can be to one at a time; "
        "close what is open there, or work on this one in a process of its own"
    )


def _connect(address: str | None) -> None:
    if found := _found(address):
        _require_reachable(found)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with _discreet():
            ray.init(
                address=address,
                include_dashboard=None if address else False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        # Ray tells of lost workers on standard output, which holds nothing but raymu's own documents.
        ray._private.worker._worker_logs_enabled = False
    except (ConnectionError, ValueError, RuntimeError, AuthenticationError) as error:
        raise DeviceUnavailable(
            f"cluster.address {address}: cannot be joined ({one_line(error)}); "
            "if it asks for a token, set RAY_AUTH_MODE=token and the token's file or variable"
        ) from error


@contextmanager
def _discreet() -> Iterator[None]:
    """Ray would show the command line, with ids in it, on its dashboard, and answer SIGTERM with a trace of its own code."""
    before, ray._private.utils.get_entrypoint_name = ray._private.utils.get_entrypoint_name, lambda: "raymu"
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        ray._private.utils.get_entrypoint_name = before
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)


def _require_reachable(address: str) -> None:
    """Ray itself would wait many minutes for a head that is not there. Raises DeviceUnavailable."""
    if "://" in address:
        raise DeviceUnavailable(
            f"cluster.address {address}: is not the cluster's own address, such as 10.0.0.1:6379, which its nodes join by; "
            "from a machine that is none of them, use `raymu submit`"
        )
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        return  # a name such as auto, which Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise DeviceUnavailable(
            f"cluster.address {address}: nothing answers there ({error}); start Ray there, or, where it crashed on this "
            "machine, run `ray stop`"
        ) from error
