"""The files for Ray's cluster launcher: they follow Ray's own schema, and are as safe as the README says."""

import json
import re
from importlib.metadata import distribution
from pathlib import Path

import jsonschema
import pytest

from tests.unit.cluster_files.files import LAUNCHERS, Tree, read

_PRIVATE = re.compile(r"(^|\.)(PublicIp\w*|AssociatePublicIpAddress|IpPermissions)$")


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> Tree:
    return read(request.param)


@pytest.fixture(scope="session")
def schema() -> Tree:
    """The schema of the installed Ray, read without importing Ray."""
    place = distribution("ray").locate_file("ray/autoscaler/ray-schema.json")
    schema: Tree = json.loads(Path(str(place)).read_text(encoding="utf-8"))
    return schema


def test_the_file_follows_rays_schema(launcher: Tree, schema: Tree) -> None:
    jsonschema.validate(launcher, schema)


def test_the_schema_refuses_unknown_fields(launcher: Tree, schema: Tree) -> None:
    for wrong in ({"dashboard_port": 8265}, {"max_workers": "8"}, {"docker": {"tag": "latest"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(launcher | wrong, schema)


def test_every_node_starts_with_a_token_and_none_opens_the_dashboard(launcher: Tree) -> None:
    commands = [*launcher["head_start_ray_commands"], *launcher["worker_start_ray_commands"]]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    [head] = [command for command in starts if "--head" in command]
    assert "--dashboard-host=127.0.0.1" in head
    assert "--ray-client-server-port" not in " ".join(starts)


def test_the_token_and_the_journal_s_password_come_from_files_of_the_launching_machine(launcher: Tree) -> None:
    assert launcher["file_mounts"] == {name: name for name in ("~/.ray/auth_token", "~/.pgpass")}


def test_nodes_install_nothing_at_their_start(launcher: Tree) -> None:
    """Without these lists, Ray's defaults would install another Ray."""
    assert [launcher[f"{which}setup_commands"] for which in ("", "head_", "worker_")] == [[], [], []]


def test_the_head_runs_no_shards(launcher: Tree) -> None:
    assert any("--head --num-cpus=0" in command for command in launcher["head_start_ray_commands"])


def test_no_machine_on_aws_has_a_public_address() -> None:
    aws = read("aws.yaml")
    assert aws["provider"]["use_internal_ips"] is True
    assert aws["auth"]["ssh_proxy_use_node_id"] is True
    for node_type in aws["available_node_types"].values():
        node = node_type["node_config"]
        assert node["SecurityGroupIds"], "Ray would make a group that lets everybody in at port 22"
        assert node["SubnetIds"]
        assert node["MetadataOptions"] == {"HttpTokens": "required"}
        assert [key for key in node if _PRIVATE.search(key)] == []


def test_workers_on_aws_have_gpus_and_their_own_rights_to_the_bucket() -> None:
    types = read("aws.yaml")["available_node_types"]
    assert types["gpu"]["resources"]["GPU"] == 1
    roles = [types[name]["node_config"]["IamInstanceProfile"]["Name"] for name in ("head", "gpu")]
    assert roles == ["raymu-head", "raymu-worker"]
