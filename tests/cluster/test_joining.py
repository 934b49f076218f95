"""All threads of a process share one connection, and raymu recognises which cluster it leads to."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import ray

from raymu.errors import DeviceUnavailable
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
