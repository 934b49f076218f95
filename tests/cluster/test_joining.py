"""All threads of a process share one connection, and raymu recognises which cluster it leads to."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import ray

from raymu.errors import DeviceUnavailable
from raymu.runtime import cluster
from raymu.runtime.cluster import join_cluster, leave_cluster
from tests.support.head_node import Head, started_head

VISITORS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import ray
from raymu.config import ClusterConfig
from raymu.runtime.cluster import cluster_connection

together = Barrier(4, timeout=30)

def visit(_number):
    for _ in range(3):
        together.wait()
        with cluster_connection(ClusterConfig(address=sys.argv[1])):
            assert ray.nodes()

with ThreadPoolExecutor(4) as threads:
    assert list(threads.map(visit, range(4))) == [None] * 4
assert not ray.is_initialized()
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started_head("--num-cpus=1") as started:
        yield started


def test_threads_that_connect_and_disconnect_at_once_share_one_connection(head: Head) -> None:
    command = [sys.executable, "-c", VISITORS, head.address]
    process = subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=90, check=False)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.usefixtures("ray_cluster")
def test_a_second_cluster_is_refused(head: Head) -> None:
    own = ray.get_runtime_context().gcs_address
    with pytest.raises(DeviceUnavailable, match=f"{head.address}: this process is connected to another .* {own}"):
        join_cluster(head.address)
    with pytest.raises(DeviceUnavailable, match="nothing answers there"):
        join_cluster("127.0.0.1:9")


@pytest.mark.usefixtures("ray_cluster")
def test_the_joined_cluster_may_be_named_by_any_of_its_addresses() -> None:
    own = ray.get_runtime_context().gcs_address
    port = own.rpartition(":")[2]
    for address in (None, "auto", own, f"127.0.0.1:{port}", f"localhost:{port}"):
        join_cluster(address)
        leave_cluster()
    assert ray.is_initialized()


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The addresses that Ray is asked for, on a machine where another version is up. Nothing is started."""
    addresses: list[str | None] = []

    def start(address: str | None, **_options: object) -> None:
        addresses.append(address)
        if address != "local":
            raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.11.4\n")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "_init", start)
    monkeypatch.setattr(cluster, "_resolve", lambda _address: "10.0.0.1:6379")
    monkeypatch.setattr(cluster, "_require_reachable", lambda _address: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return addresses


def test_beside_a_cluster_of_another_version_that_nobody_addresses_raymu_starts_its_own(
    starts: list[str | None], caplog: pytest.LogCaptureFixture
) -> None:
    cluster._connect(None, may_start=True)
    assert starts == [None, "local"]
    assert "10.0.0.1:6379 has Ray 2.59.0 with Python 3.11.4" in caplog.text


def test_a_cluster_of_another_version_is_refused_if_it_was_addresses_or_has_to_stay(starts: list[str | None]) -> None:
    with pytest.raises(DeviceUnavailable, match="Version mismatch"):
        cluster._connect("auto", may_start=True)
    with pytest.raises(DeviceUnavailable, match="run `ray start --head` of this version"):
        cluster._connect(None, may_start=False)
    assert "local" not in starts


def test_a_child_that_was_forked_from_a_connected_process_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "_is_forked", True)
    with pytest.raises(DeviceUnavailable, match="was forked from one that is connected"):
        join_cluster(None)
