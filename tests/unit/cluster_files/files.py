"""The files in cluster/, as the tests read them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "cluster"
LAUNCHERS = ("aws.yaml", "on-premise.yaml")
MANIFESTS = ("raycluster.yaml", "rayjob.yaml")

Tree = dict[str, Any]


def read(name: str) -> Tree:
    tree: Tree = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return tree


def readme_blocks(language: str) -> list[str]:
    """Return the README's code blocks in a language."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def cluster_spec(name: str) -> Tree:
    """Return the Ray cluster that a manifest describes."""
    spec: Tree = read(name)["spec"]
    cluster: Tree = spec.get("rayClusterSpec", spec)
    return cluster


def pod_templates(name: str) -> list[Tree]:
    """Return a manifest's pod templates: the head's, the workers' and that of a job's submitter."""
    cluster, spec = cluster_spec(name), read(name)["spec"]
    submitter = [spec["submitterPodTemplate"]] if "submitterPodTemplate" in spec else []
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [*(group["template"] for group in groups), *submitter]


def containers(name: str) -> list[Tree]:
    return [container for template in pod_templates(name) for container in template["spec"]["containers"]]


def pinned() -> dict[str, str]:
    """Return the versions in constraints.txt by the distribution's name in lower case."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("==") for line in lines if "==" in line)
    return {name.lower(): version for name, _, version in pairs}


def every_value(tree: object) -> Iterator[tuple[str, object]]:
    """Yield every key with its value, at every depth."""
    match tree:
        case dict():
            for key, value in tree.items():
                yield str(key), value
                yield from every_value(value)
        case list():
            for value in tree:
                yield from every_value(value)
