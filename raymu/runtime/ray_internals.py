"""The private parts of Ray that raymu uses, one function each, so that a new version of Ray breaks one file.

tests/cluster/test_ray_internals.py has a test for each of them, and tests/unit/test_private_ray.py refuses private
names of Ray anywhere else.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray._private import services
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled, without types
from ray.exceptions import RayError


def as_remote(code: type | Callable[..., Any]) -> Any:
    """Wrap a class as an actor, or a function as a task, without task events.

    Ray's dashboard shows the errors in task events, and the text of an error may contain sample ids. The option is
    public, but Ray's type hints lack it.
    """
    wrap: Any = ray.remote(enable_task_events=False)  # type: ignore[call-overload]
    return wrap(code)


def find_local_cluster(address: str | None) -> str | None:
    """Return the address of the cluster that `ray.init(address)` would join, or None if it would start one.

    The public way to learn this is to call `ray.init`, which starts a cluster if there is none.
    """
    services.logger.setLevel(logging.ERROR)  # it warns if several clusters are up, and chooses the latest
    with suppress(ConnectionError, ValueError):
        bootstrap_address: str | None = services.canonicalize_bootstrap_address(address)  # type: ignore[arg-type]
        return bootstrap_address
    return address


def is_connected_to(address: str) -> bool:
    """Whether the cluster at an address is the one that this process is connected to.

    The public API shows addresses only, and one cluster has several: 127.0.0.1, a node's name, a service's name. The
    cluster's id is private. An address that refuses this process's token, or is not a cluster, is a different one.
    """
    worker: Any = ray._private.worker.global_worker
    with suppress(RayError):
        return bool(GcsClient(address=address).cluster_id == worker.gcs_client.cluster_id)
    return False


def silence_lost_workers() -> None:
    """Keep Ray's messages about lost workers off standard output, which holds raymu's documents only.

    `ray.init(log_to_driver=False)` covers what workers print, not what Ray prints about them.
    """
    ray._private.worker._worker_logs_enabled = False


def begin_counter(counter: Any, tags: dict[str, str]) -> None:
    """Export a counter as 0. The public method refuses to add 0, and a counter begins with its first addition."""
    counter._record(0.0, tags=tags)


@contextmanager
def hidden_entrypoint() -> Iterator[None]:
    """Name the job "raymu" on Ray's dashboard if `ray.init` is called in this context.

    Ray shows the whole command line, which may contain sample ids. No public option changes that.
    """
    before = ray._private.utils.get_entrypoint_name
    ray._private.utils.get_entrypoint_name = lambda: "raymu"
    try:
        yield
    finally:
        ray._private.utils.get_entrypoint_name = before
