"""Connecting this process to a Ray cluster, or starting a temporary one, and disconnecting again."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import AuthenticationError

from raymu.config import ClusterConfig
from raymu.errors import DeviceUnavailable
from raymu.runtime.nodes import capacity
from raymu.runtime.own_cluster import other_version, short_folder
from raymu.runtime.ray_internals import find_local_cluster, hidden_entrypoint, is_connected_to, silence_lost_workers
from raymu.text import one_line

_log = logging.getLogger(__name__)
_lock = threading.Lock()
"""Held while connecting or disconnecting."""
_open_connections = 0
"""Number of users of this process's connection. Ray allows one connection per process."""
_is_forked = False
"""Whether this process was forked from one that was connected."""
_own_job: str | None = None
"""Ray's id of the connection that raymu opened and has to close. A connection with another id belongs to the caller."""


@contextmanager
def cluster_connection(cluster: ClusterConfig) -> Iterator[None]:
    """Stay connected while several runs are worked on.

    Raises:
        DeviceUnavailable: The cluster cannot be joined, or has no room for a shard.
    """
    join_cluster(cluster.address)
    try:
        capacity(cluster)
        yield
    finally:
        leave_cluster()


@contextmanager
def existing_cluster(address: str | None) -> Iterator[None]:
    """Connect to a cluster that was started before, and never start one.

    Raises:
        DeviceUnavailable: There is no such cluster.
    """
    if not is_cluster_there(address):
        raise DeviceUnavailable(
            "there is no Ray cluster that stays; run `ray start --head`, or name one with --address"
        )
    join_cluster(address, may_start=False)
    try:
        yield
    finally:
        leave_cluster()


def join_cluster(address: str | None, *, may_start: bool = True) -> None:
    """Connect to a cluster, or start one. Every call needs a `leave_cluster`.

    Args:
        address: The address that was asked for. None: the cluster that is up on this machine, or a new one.
        may_start: Whether a cluster that ends with this process will do.

    Raises:
        DeviceUnavailable: The cluster cannot be joined, or this process is connected to another one, or was forked from one
            that is connected.
    """
    global _open_connections, _own_job
    with _lock:
        if _is_forked:
            raise DeviceUnavailable(
                "this process was forked from one that is connected to a Ray cluster, which Ray does not allow; start it "
                "afresh, as multiprocessing's `spawn` does, or fork before the first run is opened"
            )
        if ray.is_initialized():
            _require_connected(address)
        else:
            _connect(address, may_start=may_start)
            _own_job, _open_connections = _current_job(), 0
        _open_connections += 1


def leave_cluster() -> None:
    """Disconnect after the last user, if raymu opened the connection."""
    global _open_connections, _own_job
    with _lock:
        _open_connections -= 1
        if _open_connections == 0 and ray.is_initialized() and _own_job == _current_job():
            _own_job = None
            ray.shutdown()


def is_cluster_there(address: str | None) -> bool:
    """Whether a cluster is named or runs on this machine. Otherwise Ray would start one that ends with this process."""
    return ray.is_initialized() or _resolve(address) is not None


def is_head_there() -> bool:
    """Whether the cluster's head answers. Ray itself waits a minute for the head, and then ends this process."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def is_joined(address: str) -> bool:
    """Whether an address is that of the joined cluster, also if a former head of it had the address."""
    own = ray.get_runtime_context().gcs_address
    return own == address or (own.rpartition(":")[2] == address.rpartition(":")[2] and _hosts(own) == _hosts(address))


def _hosts(address: str) -> set[str]:
    """Return the IP addresses of the host in an address; its name if it has none."""
    host = address.rpartition(":")[0]
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return {host}


def _remember_fork() -> None:
    global _is_forked, _lock
    _is_forked, _lock = _is_forked or ray.is_initialized(), threading.Lock()


os.register_at_fork(after_in_child=_remember_fork)


def _current_job() -> str:
    job: str = ray.get_runtime_context().get_job_id()
    return job


def _resolve(address: str | None) -> str | None:
    """Return the address of the named cluster, or of the one that runs on this machine. None if there is none."""
    return find_local_cluster(address) if _is_default(address) else address


def _is_default(address: str | None) -> bool:
    return address in (None, "auto", "local")


def _require_connected(address: str | None) -> None:
    """Raise DeviceUnavailable if this process is connected to another cluster than the named one."""
    if address is None or _is_default(address):
        return
    _require_reachable(address)
    if is_connected_to(address):
        return
    current = ray.get_runtime_context().gcs_address
    raise DeviceUnavailable(
        f"cluster.address {address}: this process is connected to another Ray cluster, {current}, and can be to one "
        "at a time; close what is open there, or work on this one in a process of its own"
    )


def _connect(address: str | None, *, may_start: bool) -> None:
    resolved = _resolve(address)
    if resolved:
        _require_reachable(resolved)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _init(address, folder=None if resolved else short_folder(), has_dashboard=None if address else False)
    except (OSError, ValueError, RuntimeError, AuthenticationError) as error:
        version = other_version(str(error))
        if version and resolved and address is None and not os.environ.get("RAY_ADDRESS"):
            _start_beside(resolved, version, may_start=may_start)
            return
        if not resolved:
            raise DeviceUnavailable(f"Ray cannot be started on this machine ({one_line(error)})") from error
        raise DeviceUnavailable(
            f"cluster.address {address}: cannot be joined ({one_line(error)}); "
            "if it asks for a token, set RAY_AUTH_MODE=token and the token's file or variable"
        ) from error


def _start_beside(other: str, version: str, *, may_start: bool) -> None:
    """Start a cluster that ends with this process, because the one that is up, and that nobody asked for, is of no use."""
    difference = f"the Ray cluster at {other} has {version}, and this is Ray {ray.__version__}"
    if not may_start:
        raise DeviceUnavailable(
            f"{difference}; run `ray start --head` of this version, or name a cluster with --address"
        )
    _log.warning("raymu: %s: a cluster of its own is started", difference)
    ray.shutdown()
    try:
        _init("local", folder=short_folder())
    except (OSError, ValueError, RuntimeError) as error:
        raise DeviceUnavailable(f"Ray cannot be started on this machine ({one_line(error)})") from error


def _init(address: str | None, *, folder: str | None, has_dashboard: bool | None = False) -> None:
    options: dict[str, Any] = {"_temp_dir": folder} if folder else {}
    with hidden_entrypoint(), _own_sigterm_handler():
        ray.init(
            address=address,
            include_dashboard=has_dashboard,
            logging_level=logging.ERROR,
            log_to_driver=False,
            **options,
        )
    silence_lost_workers()


@contextmanager
def _own_sigterm_handler() -> Iterator[None]:
    """Keep this process's handler of SIGTERM. Ray's own one prints a trace of Ray's code."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)


def _require_reachable(address: str) -> None:
    """Raise DeviceUnavailable if nothing answers at an address. Ray itself would wait for many minutes."""
    if "://" in address:
        raise DeviceUnavailable(
            f"cluster.address {address}: is not the cluster's own address, such as 10.0.0.1:6379, which its nodes join by; "
            "from another machine, use `raymu job submit`"
        )
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        return  # a name such as auto, which Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise DeviceUnavailable(
            f"cluster.address {address}: nothing answers there ({error}); start Ray there or, if it crashed on this "
            "machine, run `ray stop`"
        ) from error
