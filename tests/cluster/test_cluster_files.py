"""Ray's own code accepts the files in cluster/. Nothing is started."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.ray_internals import launcher_configuration

FOLDER = Path(__file__).parents[2] / "cluster"


def _read(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return tree


@pytest.mark.parametrize(("name", "workers"), [("aws.yaml", (0, 8)), ("on-premise.yaml", (2, 2))])
def test_rays_launcher_accepts_the_file_with_its_defaults(name: str, workers: tuple[int, int]) -> None:
    prepared = launcher_configuration(_read(name))
    head = prepared["head_node_type"]
    types = prepared["available_node_types"]
    [node_type] = [kind for kind in types if kind != head] or [head]
    assert (types[node_type]["min_workers"], types[node_type]["max_workers"]) == workers
    assert prepared["setup_commands"] == []
    assert prepared["docker"]["image"].endswith(":0.1.0")


def test_rays_launcher_refuses_unknown_fields() -> None:
    import jsonschema

    with pytest.raises(jsonschema.ValidationError):
        launcher_configuration(_read("aws.yaml") | {"dashboard": True})


def test_ray_accepts_the_runtime_environment() -> None:
    from ray.runtime_env import RuntimeEnv

    environment = RuntimeEnv(**_read("runtime-environment.yaml"), working_dir="s3://raymu-example/raymu.zip")
    assert environment.pip_config()["packages"] == _read("runtime-environment.yaml")["pip"]["packages"]
    assert environment.env_vars()["RAY_AUTH_MODE"] == "token"
