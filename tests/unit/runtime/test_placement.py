import pytest

from raymu.config import ClusterConfig
from raymu.errors import DeviceUnavailable
from raymu.runtime.placement import shard_capacity


def test_room_is_counted_node_by_node() -> None:
    cluster = ClusterConfig(cpus_per_shard=2)
    assert shard_capacity([{"CPU": 3.0}, {"CPU": 3.0}], cluster) == 2  # not 6 // 2
    assert shard_capacity([{"CPU": 8.0}, {"GPU": 1.0}], cluster) == 4


def test_fractions_of_a_gpu_add_up_on_their_node() -> None:
    cluster = ClusterConfig(cpus_per_shard=1, gpus_per_shard=0.1)
    assert shard_capacity([{"CPU": 64.0, "GPU": 1.0}], cluster) == 10
    assert shard_capacity([{"CPU": 4.0, "GPU": 1.0}], cluster) == 4


def test_a_shard_of_several_workers_takes_room_for_each_of_them_on_any_nodes() -> None:
    assert shard_capacity([{"CPU": 3.0}, {"CPU": 3.0}], ClusterConfig(workers_per_shard=2)) == 3
    assert shard_capacity([{"CPU": 3.0}], ClusterConfig(cpus_per_shard=2, workers_per_shard=1)) == 1
    with pytest.raises(DeviceUnavailable, match=r"2 CPU and 0 GPU for each of its 2 workers.*3 CPU"):
        shard_capacity([{"CPU": 3.0}], ClusterConfig(cpus_per_shard=2, workers_per_shard=2))


def test_live_actors_is_a_bound() -> None:
    assert shard_capacity([{"CPU": 8.0}], ClusterConfig(live_actors=3)) == 3
    assert shard_capacity([{"CPU": 2.0}], ClusterConfig(live_actors=3)) == 2


def test_a_shard_that_fits_on_no_node_is_refused() -> None:
    with pytest.raises(DeviceUnavailable, match=r"2 CPU and 0 GPU.*1 CPU, 0 GPU; 1 CPU, 0 GPU"):
        shard_capacity([{"CPU": 1.0}, {"CPU": 1.0}], ClusterConfig(cpus_per_shard=2))
