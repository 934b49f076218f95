"""The configuration in cluster/: raymu reads it, and the workers have room for its shards."""

import shlex
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import click
import pytest

from raymu.cli.group import cli
from raymu.config import ClusterConfig, Config
from raymu.errors import DeviceUnavailable
from raymu.runtime.shard_resources import Resources, shard_capacity
from raymu.store.journal.database import parse_url
from tests.unit.cluster_files.files import FOLDER, MANIFESTS, cluster_spec, containers, pod_templates, read


@pytest.fixture(scope="session")
def config() -> Config:
    return Config.load(FOLDER / "configuration.yaml")


def test_raymu_reads_the_configuration(config: Config) -> None:
    assert str(config.data.train).startswith("s3://")
    assert config.device == "auto"


def test_the_journal_is_postgresql_and_its_password_is_not_in_the_url(config: Config) -> None:
    assert config.cluster.journal is not None
    url = parse_url(config.cluster.journal)
    assert (url.drivername, url.password) == ("postgresql+psycopg", None)
    assert url.query["sslmode"] == "require"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sized:
    """A cluster that grows: the resources of its head and of each worker, and its least and most workers."""

    head: Resources
    worker: Resources
    least: int
    most: int


def on_kubernetes(name: str) -> Sized:
    spec = cluster_spec(name)
    [group] = spec["workerGroupSpecs"]
    [worker] = group["template"]["spec"]["containers"]
    limits = worker["resources"]["limits"]
    assert group["replicas"] == group["minReplicas"]
    return Sized(
        head={"CPU": float(spec["headGroupSpec"]["rayStartParams"]["num-cpus"])},
        worker={"CPU": float(limits["cpu"]), "GPU": float(limits["nvidia.com/gpu"])},
        least=group["minReplicas"],
        most=group["maxReplicas"],
    )


def on_aws() -> Sized:
    gpu = read("aws.yaml")["available_node_types"]["gpu"]
    return Sized(head={"CPU": 0.0}, worker=gpu["resources"], least=gpu["min_workers"], most=gpu["max_workers"])


@pytest.fixture(params=["aws.yaml", *MANIFESTS])
def sized(request: pytest.FixtureRequest) -> Sized:
    return on_aws() if request.param == "aws.yaml" else on_kubernetes(request.param)


def test_a_worker_has_room_for_four_shards_and_the_head_for_none(sized: Sized, config: Config) -> None:
    assert shard_capacity([sized.head, sized.worker], as_it_is(config)) == 4


def test_the_configuration_makes_a_cluster_without_workers_grow_to_its_limit(sized: Sized, config: Config) -> None:
    assert sized.least == 0
    assert shard_capacity([sized.head], config.cluster) == 4 * sized.most


def test_a_configuration_without_autoscaling_is_refused_with_a_hint(sized: Sized, config: Config) -> None:
    with pytest.raises(DeviceUnavailable, match=r"grows by itself, set cluster\.autoscaling and cluster\.live_actors"):
        shard_capacity([sized.head], as_it_is(config))


def as_it_is(config: Config) -> ClusterConfig:
    """Return the cluster's settings without autoscaling."""
    return replace(config.cluster, autoscaling=False, live_actors=None)


def test_the_job_s_command_is_one_of_raymu_s_and_its_configuration_is_mounted() -> None:
    program, name, *words = shlex.split(read("rayjob.yaml")["spec"]["entrypoint"])
    assert program == "raymu"
    with click.Context(cli) as context:
        command = cli.get_command(context, name)
        assert command is not None
        params = command.make_context(name, words, parent=context).params
    [mount] = containers("rayjob.yaml")[0]["volumeMounts"]
    place = PurePosixPath(params["config_file"])
    assert place.parent == PurePosixPath(mount["mountPath"])
    assert (FOLDER / place.name).is_file()
    [location] = params["words"]
    assert location.startswith("s3://")


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_node_has_the_keys_of_the_storage_from_one_secret(name: str) -> None:
    nodes = [container for container in containers(name) if container["name"] != "ray-job-submitter"]
    assert [node["envFrom"] for node in nodes] == [[{"secretRef": {"name": "raymu-storage"}}]] * 2


def test_the_image_of_every_container_is_one_and_the_same() -> None:
    images = {container["image"] for name in MANIFESTS for container in containers(name)}
    assert len(images) == 1
    assert all(len(pod_templates(name)) > 1 for name in MANIFESTS)
