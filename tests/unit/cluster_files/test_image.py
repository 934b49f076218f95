"""The container file and the runtime environment: linted, pinned, and without build tools. Neither is built here."""

import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import yaml
from packaging.requirements import Requirement

from raymu.config import Config
from tests.unit.cluster_files.files import FOLDER, ROOT, pinned, read, readme_blocks

CONTAINERFILE = FOLDER / "Containerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")


def _instructions() -> list[tuple[str, str]]:
    """Return each instruction and its arguments, without comments and line breaks."""
    lines = [line for line in CONTAINERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, arguments) for word, _, arguments in (line.partition(" ") for line in whole.splitlines() if line)]


def test_the_linter_finds_nothing() -> None:
    done = subprocess.run([HADOLINT, CONTAINERFILE], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_linter_finds_a_fault(tmp_path: Path) -> None:
    faulty = tmp_path / "Containerfile"
    faulty.write_text(
        CONTAINERFILE.read_text(encoding="utf-8").replace("python:3.11.14-slim-bookworm", "python:latest")
    )
    assert subprocess.run([HADOLINT, faulty], check=False, capture_output=True, timeout=60).returncode == 1


def test_both_stages_begin_with_one_exact_version_of_python() -> None:
    bases = {arguments.split()[0] for word, arguments in _instructions() if word == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", bases.pop())


def test_what_is_installed_is_pinned() -> None:
    commands = [arguments for word, arguments in _instructions() if word == "RUN" and "pip install" in arguments]
    torch, rest = commands
    assert "grep '^torch==' constraints.txt" in torch
    assert "--constraint constraints.txt" in rest
    named = {name.partition("[")[0] for name in re.findall(r"(?<= )'?([a-z][\w-]*(?:\[[\w,]+\])?)'?(?= |$)", rest)}
    assert {"ray", "boto3"} <= named
    assert {"ray", "boto3", "torch", "psycopg"} <= pinned().keys()


def test_the_tested_versions_go_together() -> None:
    """The installed distributions accept the pinned versions of one another."""
    versions = pinned()
    needs = [
        (distribution.name, need)
        for distribution in distributions()
        if distribution.name.lower() in versions
        for need in map(Requirement, distribution.requires or ())
        if need.name.lower() in versions and (need.marker is None or need.marker.evaluate({"extra": ""}))
    ]
    assert len(needs) > 50
    apart = [
        (name, str(need)) for name, need in needs if not need.specifier.contains(versions[need.name.lower()], True)
    ]
    assert apart == []


def test_the_image_does_not_run_as_root_and_has_no_compiler() -> None:
    instructions = _instructions()
    last = max(place for place, (word, _) in enumerate(instructions) if word == "FROM")
    final = instructions[last:]
    [user] = [arguments for word, arguments in final if word == "USER"]
    assert user == "1000:1000"
    installed = " ".join(arguments for word, arguments in final if word == "RUN")
    assert not re.search(r"build-essential|\bgcc\b|\bg\+\+|\bmake\b|-dev\b|\bgit\b", installed)
    assert [arguments for word, arguments in final if word == "COPY"] == ["--from=build /opt/raymu /opt/raymu"]


def test_the_image_requires_a_token_by_default() -> None:
    assert any("RAY_AUTH_MODE=token" in arguments for word, arguments in _instructions() if word == "ENV")


def test_copied_files_exist_and_are_not_ignored() -> None:
    copied = {
        name
        for word, arguments in _instructions()
        if word == "COPY" and not arguments.startswith("--from")
        for name in arguments.split()[:-1]
    }
    assert [name for name in copied if not (ROOT / name).exists()] == []
    ignored = (FOLDER / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied


def test_the_runtime_environment_installs_raymu_from_its_working_directory_by_the_tested_versions() -> None:
    environment = read("runtime-environment.yaml")
    constraint, raymu = environment["pip"]["packages"]
    folder = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"
    assert constraint == f"--constraint {folder}/constraints.txt"
    assert raymu == f"raymu[postgres] @ file://{folder}"
    assert environment["env_vars"]["RAY_AUTH_MODE"] == "token"
    assert all(isinstance(value, str) for value in environment["env_vars"].values())
    assert not {"raymu", "constraints.txt", "pyproject.toml", "cluster"} & set(environment["excludes"])


def test_the_example_in_the_readme_is_the_configuration() -> None:
    """raymu reads the configuration that the README shows for several machines."""
    [shown] = [document for document in map(yaml.safe_load, readme_blocks("yaml")) if "data" in document]
    tree = read("configuration.yaml")
    for branch, settings in shown.items():
        tree[branch] |= settings
    assert Config.parse(tree).cluster.journal
