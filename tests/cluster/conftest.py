import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.object_store_server import CREDENTIALS


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray for all tests of a process, with 8 logical CPUs and 2 logical GPUs on any machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # The death of a node is noticed within seconds, not a quarter of a minute.
    os.environ["RAY_health_check_period_ms"] = "500"  # noqa: SIM112
    # Ray's default lets its workers wait for every other program on a busy machine.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    os.environ |= CREDENTIALS  # an actor inherits the environment of its node
    import ray

    ray.init(num_cpus=8, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def room_for_one() -> Iterator[None]:
    """Occupy seven of the cluster's eight CPUs during a test."""

    import ray

    class Other:
        """Another program's actor."""

    other: Any = ray.remote(num_cpus=7)(Other).remote()
    ray.get(other.__ray_ready__.remote())
    yield
    ray.kill(other)
