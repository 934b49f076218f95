"""Joining a Ray cluster, or starting one for the occasion, and leaving it again."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray._private import services
from ray.exceptions import AuthenticationError

from raymu.config import ClusterConfig
from raymu.errors import DeviceUnavailable
from raymu.runtime.placement import shard_capacity

_visits = 0
"""How many of this process's connections are open: Ray itself knows one connection per process."""
_has_joined = False
"""Whether raymu made that connection, and has to close it."""


@contextmanager
def cluster_connection(cluster: ClusterConfig, *, must_stay: bool = False) -> Iterator[None]:
    """Stay connected while several runs are worked on. must_stay: refuse to start a cluster. Raises DeviceUnavailable."""
    if must_stay and not ray.is_initialized():
        _require_there(cluster.address)
    join_cluster(cluster)
    try:
        yield
    finally:
        leave_cluster()


def join_cluster(cluster: ClusterConfig) -> None:
    """Connect to the cluster, or start one; every call needs a `leave_cluster`.

    Raises DeviceUnavailable where it is not there, or has no room for a shard.
    """
    global _visits, _has_joined
    is_first = not ray.is_initialized()
    if is_first:
        _connect(cluster.address)
        _has_joined, _visits = True, 0
    try:
        capacity(cluster)
    except DeviceUnavailable:
        if is_first:
            ray.shutdown()
        raise
    _visits += 1


def leave_cluster() -> None:
    """The last one to leave disconnects, where raymu had connected."""
    global _visits, _has_joined
    _visits -= 1
    if _visits == 0 and _has_joined:
        _has_joined = False
        ray.shutdown()


def capacity(cluster: ClusterConfig) -> int:
    """Shard actors that the cluster has room for. Raises DeviceUnavailable where it has none for a single one."""
    return shard_capacity([node["Resources"] for node in _living_nodes()], cluster)


def is_head_there() -> bool:
    """Whether the cluster's head answers. Ray itself waits for it for a minute, and then ends this process."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def node_names() -> dict[str, str]:
    """By Ray's id; a node that was given no name has its address instead."""
    return {node["NodeID"]: node["NodeName"] for node in _living_nodes()}


def _living_nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _connect(address: str | None) -> None:
    if address:
        _require_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
        # Ray tells of lost workers on standard output, which holds nothing but raymu's own documents.
        ray._private.worker._worker_logs_enabled = False
    except (ConnectionError, ValueError, RuntimeError, AuthenticationError) as error:
        reason = " ".join(str(error).split())
        raise DeviceUnavailable(
            f"cluster.address {address}: cannot be joined ({reason}); "
            "if it asks for a token, set RAY_AUTH_MODE=token and the token's file or variable"
        ) from error


def _require_there(address: str | None) -> None:
    """Raises DeviceUnavailable where Ray would start a cluster, which ends with this process."""
    if address and "://" in address:
        return
    with suppress(ConnectionError, ValueError):
        if services.canonicalize_bootstrap_address(address) is not None:  # type: ignore[arg-type]
            return
    raise DeviceUnavailable("there is no Ray cluster that stays; run `ray start --head`, or name one with --address")


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
