"""What the files in cluster/ run: a configuration that raymu reads, on workers with room for its shards."""

import shlex
from dataclasses import replace
from pathlib import PurePosixPath

import click
import pytest

from raymu.cli.group import cli
from raymu.config import ClusterConfig, Config
from raymu.runtime.placement import shard_capacity
from raymu.store.database import parse_url
from tests.unit.cluster.files import FOLDER, MANIFESTS, cluster_spec, containers, pod_templates, read


@pytest.fixture(scope="session")
def config() -> Config:
    return Config.load(FOLDER / "configuration.yaml")


def test_raymu_reads_the_configuration(config: Config) -> None:
    assert config.data.train.startswith("s3://")
    assert config.training.device == "cuda"


def test_the_journal_is_postgresql_and_its_password_is_not_in_the_url(config: Config) -> None:
    assert config.cluster.journal is not None
    url = parse_url(config.cluster.journal)
    assert (url.drivername, url.password) == ("postgresql+psycopg", None)
    assert url.query["sslmode"] == "require"


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_worker_has_room_for_four_shards_and_the_head_for_none(name: str, config: Config) -> None:
    spec = cluster_spec(name)
    [group] = spec["workerGroupSpecs"]
    [worker] = group["template"]["spec"]["containers"]
    limits = worker["resources"]["limits"]
    node = {"CPU": float(limits["cpu"]), "GPU": float(limits["nvidia.com/gpu"])}
    head = {"CPU": float(spec["headGroupSpec"]["rayStartParams"]["num-cpus"])}
    assert shard_capacity([head, node], as_it_is(config)) == 4


def test_a_worker_on_aws_has_room_for_four_shards(config: Config) -> None:
    assert shard_capacity([read("aws.yaml")["available_node_types"]["gpu"]["resources"]], as_it_is(config)) == 4


def as_it_is(config: Config) -> ClusterConfig:
    """Without growth."""
    return replace(config.cluster, autoscaling=False, live_actors=None)


def test_the_job_s_command_is_one_of_raymu_s_and_its_configuration_is_mounted() -> None:
    program, name, *words = shlex.split(read("rayjob.yaml")["spec"]["entrypoint"])
    assert program == "raymu"
    with click.Context(cli) as context:
        command = cli.get_command(context, name)
        assert command is not None
        asked = command.make_context(name, words, parent=context).params
    [mount] = containers("rayjob.yaml")[0]["volumeMounts"]
    place = PurePosixPath(asked["config_file"])
    assert place.parent == PurePosixPath(mount["mountPath"])
    assert (FOLDER / place.name).is_file()
    assert asked["run_dir"].startswith("s3://")


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_node_has_the_keys_of_the_storage_from_one_secret(name: str) -> None:
    nodes = [one for one in containers(name) if one["name"] != "ray-job-submitter"]
    assert [one["envFrom"] for one in nodes] == [[{"secretRef": {"name": "raymu-storage"}}]] * 2


def test_the_image_of_every_container_is_one_and_the_same() -> None:
    images = {container["image"] for name in MANIFESTS for container in containers(name)}
    assert len(images) == 1
    assert all(len(pod_templates(name)) > 1 for name in MANIFESTS)
