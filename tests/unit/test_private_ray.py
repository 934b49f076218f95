"""Private names of Ray are used in only one module of the package and one of the tests."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    ROOT / "raymu/runtime/ray_internals.py",
    ROOT / "tests/support/ray_internals.py",
    ROOT / "tests/cluster/test_ray_internals.py",
}
UNDOCUMENTED = ("ray.core", "ray.dashboard")
"""Packages of Ray without an underscore that are no public API either."""


def private_names(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                dotted = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), names=names):
                dotted = [f"{module}.{alias.name}" for alias in names]
            case ast.Attribute():
                dotted = [ast.unparse(node)]
            case _:
                continue
        yield from (name for name in dotted if is_private(name))


def is_private(name: str) -> bool:
    root, *parts = name.split(".")
    has_underscore = any(part.startswith("_") and not part.startswith("__") for part in parts)
    return root == "ray" and (has_underscore or name.startswith(UNDOCUMENTED))


@pytest.mark.parametrize("folder", ["raymu", "tests", "experiments"])
def test_private_names_of_ray_are_used_in_one_place(folder: str) -> None:
    files = set((ROOT / folder).rglob("*.py")) - ALLOWED
    used = {str(file.relative_to(ROOT)): [*private_names(file.read_text(encoding="utf-8"))] for file in sorted(files)}
    assert {file: names for file, names in used.items() if names} == {}


@pytest.mark.parametrize(
    "line",
    [
        "from ray._raylet import GcsClient",
        "import ray._private.services",
        "from ray.core.generated.gcs_pb2 import PlacementGroupTableData",
        "from ray import _private",
        "ray._private.worker.global_worker",
    ],
)
def test_a_private_name_is_noticed(line: str) -> None:
    assert [*private_names(line)]


@pytest.mark.parametrize("line", ["from ray.util import placement_group", "ray.get(self._actor)", "import raymu._x"])
def test_a_public_name_is_not_taken_for_a_private_one(line: str) -> None:
    assert [*private_names(line)] == []
