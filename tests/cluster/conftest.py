import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.object_store_server import CREDENTIALS


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray for all tests of a process: 8 logical CPUs, 2 logical GPUs, whatever this machine has. Stopped at the end."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # A node that is killed is missed after seconds, not after a quarter of a minute.
    os.environ["RAY_health_check_period_ms"] = "500"  # noqa: SIM112
    os.environ |= CREDENTIALS  # an actor has the environment of its node: there it finds them
    import ray

    ray.init(num_cpus=8, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def room_for_one() -> Iterator[None]:
    """Seven of the cluster's eight CPUs are taken, for as long as the test lasts."""

    import ray

    class Other:
        """Another program's actor."""

    other: Any = ray.remote(num_cpus=7)(Other).remote()
    ray.get(other.__ray_ready__.remote())
    yield
    ray.kill(other)
