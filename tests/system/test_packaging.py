"""The wheel and the source distribution have every file of the package, and nothing else."""

import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import raymu

ROOT = Path(__file__).parents[2]
NOT_PACKAGED = ("__pycache__",)


def build(folder: Path, *parts: str) -> Path:
    """Build distributions offline, from the files that git has; return the folder in which they are."""
    source, out = folder / "source", folder / "out"
    for path in ("pyproject.toml", "README.md", "LICENSE", *package_files()):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes((ROOT / path).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", *parts, "--outdir", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return out


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    [path] = build(tmp_path_factory.mktemp("wheel"), "--wheel").glob("*.whl")
    return zipfile.ZipFile(path)


def package_files() -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / "raymu").rglob("*")
        if path.is_file() and not set(NOT_PACKAGED) & set(path.parts)
    }


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {name for name in names if ".dist-info/" not in name} == package_files()
    assert {"raymu/py.typed", "raymu/datasets/letter-train.parquet", "raymu/report/templates/page.html"} <= names
    licences = {name.partition(".dist-info/")[2] for name in names if "/licenses/" in name}
    assert licences == {"licenses/LICENSE", "licenses/raymu/datasets/LICENSE"}


def test_the_metadata_says_what_a_user_needs(wheel: zipfile.ZipFile) -> None:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = wheel.read(name).decode()
    assert f"Version: {raymu.__version__}" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    assert "Classifier: Typing :: Typed" in metadata
    needed = re.findall(r"^Requires-Dist: ([\w.-]+)[^;\n]*$", metadata, flags=re.MULTILINE)
    assert "torch" in needed
    assert not {"pytest", "ruff", "mypy", "mkdocs-material"} & set(needed)


@pytest.mark.nightly
def test_the_source_distribution_builds_the_same_wheel(tmp_path: Path, wheel: zipfile.ZipFile) -> None:
    out = build(tmp_path)  # the wheel from the source distribution
    [path], [archive_path] = out.glob("*.whl"), out.glob("*.tar.gz")
    with zipfile.ZipFile(path) as files:
        assert set(files.namelist()) == set(wheel.namelist())
    with tarfile.open(archive_path) as archive:
        members = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert package_files() | {"pyproject.toml", "README.md", "LICENSE"} <= members
    assert not {name for name in members if name.startswith(("tests/", "experiments/", "docs/"))}


def test_the_installed_version_is_the_one_of_the_code() -> None:
    assert version("raymu") == raymu.__version__
