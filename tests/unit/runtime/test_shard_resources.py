import pytest

from raymu.config import ClusterConfig
from raymu.errors import DeviceUnavailable
from raymu.runtime.shard_resources import actor_options, backend_of, room_wanted, shard_bundle, shard_capacity

A100 = {"CPU": 8.0, "GPU": 2.0, "memory": 64e9, "accelerator_type:A100": 1.0, "rack": 2.0}
T4 = {"CPU": 8.0, "GPU": 4.0, "memory": 16e9, "accelerator_type:T4": 1.0}


def test_room_is_counted_node_by_node() -> None:
    cluster = ClusterConfig(cpus_per_shard=2)
    assert shard_capacity([{"CPU": 3.0}, {"CPU": 3.0}], cluster) == 2  # not 6 // 2
    assert shard_capacity([{"CPU": 8.0}, {"GPU": 1.0}], cluster) == 4


def test_fractions_of_a_gpu_add_up_on_their_node() -> None:
    cluster = ClusterConfig(cpus_per_shard=1, gpus_per_shard=0.1)
    assert shard_capacity([{"CPU": 64.0, "GPU": 1.0}], cluster) == 10
    assert shard_capacity([{"CPU": 4.0, "GPU": 1.0}], cluster) == 4


@pytest.mark.parametrize(("gpus", "share", "room"), [(2, 0.4, 4), (4, 0.3, 12), (2, 0.6, 2), (3, 0.1, 30), (3, 2, 1)])
def test_a_fraction_is_of_one_gpu(gpus: int, share: float, room: int) -> None:
    assert shard_capacity([{"CPU": 64.0, "GPU": float(gpus)}], ClusterConfig(gpus_per_shard=share)) == room


def test_the_scarcest_resource_bounds_the_actors_of_a_node() -> None:
    assert shard_capacity([A100, T4], ClusterConfig(gpus_per_shard=0.5)) == 4 + 8
    assert shard_capacity([A100, T4], ClusterConfig(gpus_per_shard=0.5, memory_gb_per_shard=4)) == 4 + 4
    assert shard_capacity([A100, T4], ClusterConfig(resources_per_shard={"rack": 0.25})) == 8


def test_only_nodes_with_the_accelerator_count() -> None:
    assert shard_capacity([A100, T4], ClusterConfig(gpus_per_shard=1, accelerator="T4")) == 4
    with pytest.raises(DeviceUnavailable, match=r"0\.001 accelerator_type:H100, .* 0 accelerator_type:H100"):
        shard_capacity([A100, T4], ClusterConfig(gpus_per_shard=1, accelerator="H100"))


def test_the_ranks_of_a_shard_may_be_on_different_nodes() -> None:
    assert shard_capacity([{"CPU": 3.0}, {"CPU": 3.0}], ClusterConfig(workers_per_shard=2)) == 3
    assert shard_capacity([{"CPU": 3.0}], ClusterConfig(cpus_per_shard=2, workers_per_shard=1)) == 1
    with pytest.raises(DeviceUnavailable, match=r"2 CPU for each of its 2 workers.*3 CPU"):
        shard_capacity([{"CPU": 3.0}], ClusterConfig(cpus_per_shard=2, workers_per_shard=2))


def test_live_actors_is_a_bound() -> None:
    assert shard_capacity([{"CPU": 8.0}], ClusterConfig(live_actors=3)) == 3
    assert shard_capacity([{"CPU": 2.0}], ClusterConfig(live_actors=3)) == 2


def test_a_cluster_that_grows_has_room_for_all_live_actors() -> None:
    growing = ClusterConfig(live_actors=3, autoscaling=True)
    assert shard_capacity([{"CPU": 1.0}], growing) == 3
    assert shard_capacity([], growing) == 3


def test_a_shard_that_fits_on_no_node_is_refused_in_one_line() -> None:
    with pytest.raises(
        DeviceUnavailable, match=r"asks for 2 CPU, the cluster's nodes have 1 CPU \(2 of them\); 0 CPU;"
    ):
        shard_capacity([{"CPU": 1.0}, {"CPU": 1.0}, {"GPU": 1.0}], ClusterConfig(cpus_per_shard=2))
    with pytest.raises(DeviceUnavailable, match=r"1 CPU, 90 GB of memory, .* 8 CPU, 64 GB of memory; lower"):
        shard_capacity([A100], ClusterConfig(memory_gb_per_shard=90))
    with pytest.raises(DeviceUnavailable, match="nodes have nothing"):
        shard_capacity([], ClusterConfig())


@pytest.mark.parametrize(
    ("gpus", "is_cuda", "backend"),
    [(0, False, "gloo"), (0.5, True, "gloo"), (1, False, "gloo"), (1, True, "nccl"), (2, True, "nccl")],
)
def test_ranks_use_nccl_if_each_has_a_whole_cuda_device(gpus: float, is_cuda: bool, backend: str) -> None:
    cluster = ClusterConfig(workers_per_shard=2, gpus_per_shard=gpus)
    assert backend_of(cluster, is_cuda=is_cuda) == backend


def test_an_actor_requests_the_resources_of_its_bundle() -> None:
    cluster = ClusterConfig(
        gpus_per_shard=0.5, memory_gb_per_shard=1.5, resources_per_shard={"rack": 1}, accelerator="A100"
    )
    assert shard_bundle(cluster) == {
        "CPU": 1, "GPU": 0.5, "memory": 1_500_000_000, "rack": 1, "accelerator_type:A100": 0.001
    }  # fmt: skip
    assert actor_options(cluster) == {
        "num_cpus": 1,
        "num_gpus": 0.5,
        "memory": 1_500_000_000,
        "resources": {"rack": 1},
        "accelerator_type": "A100",
    }
    assert shard_bundle(ClusterConfig()) == {"CPU": 1}


def test_what_a_shard_waits_for_is_named_unless_it_is_free() -> None:
    cluster = ClusterConfig(cpus_per_shard=2, gpus_per_shard=0.5)
    whole = {"CPU": 8.0, "GPU": 1.0}
    assert room_wanted(cluster, {"CPU": 2.0, "GPU": 1.0}, whole) is None
    room = room_wanted(cluster, {"CPU": 1.0}, whole)
    assert room == "a shard asks for 2 CPU, 0.5 GPU; free on the cluster: 1 CPU of 8 CPU, 0 GPU of 1 GPU"
    ranks = ClusterConfig(cpus_per_shard=2, workers_per_shard=4)
    assert room_wanted(ranks, {"CPU": 8.0}, whole) is None
    assert "for each of its 4 workers" in str(room_wanted(ranks, {"CPU": 7.0}, whole))
