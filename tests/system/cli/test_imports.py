"""Light commands stay light: their imports are checked in another process."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.examples import make_config, revoke, train_run, write_samples

PROGRAM = """
import json, sys
from raymu.cli import run_command
code, error = run_command(sys.argv[1:])
assert (code, error) == (0, ""), (code, error)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""
HEAVY = {"torch", "ray", "matplotlib", "scipy", "optuna", "jinja2"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that is configured for Ray."""
    place = tmp_path_factory.mktemp("runs")
    write_samples(place / "all.parquet")
    coordinator = train_run(make_config(place / "all.parquet", cluster={"fleet": "ray"}), place / "run")
    revoke(coordinator, [1000])
    asyncio.run(coordinator.close())
    return place


def imported(folder: Path, *words: str) -> set[str]:
    """Return the packages that a command imports on a machine without a cluster."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAYMU_LOG")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=folder,
        env={**environment, "RAY_TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("words", [["--help"], [], ["--version"]])
def test_help_imports_click_and_nothing_heavy(folder: Path, words: list[str]) -> None:
    packages = imported(folder, *words)
    assert "click" in packages
    assert not packages & (HEAVY | {"numpy", "pyarrow", "pydantic", "rich", "sqlalchemy", "cryptography"})


@pytest.mark.parametrize("words", [["status", "run"], ["receipts", "run"], ["status", "run", "--json"]])
def test_status_and_receipts_import_nothing_heavy(folder: Path, words: list[str]) -> None:
    assert not imported(folder, *words) & (HEAVY | {"pandas", "fsspec"})


@pytest.mark.parametrize("words", [["plan", "run", "--id", "1007"], ["report", "run"]])
def test_plans_and_reports_import_neither_pytorch_nor_ray(folder: Path, words: list[str]) -> None:
    assert not imported(folder, *words) & (HEAVY - {"jinja2"})


@pytest.mark.parametrize("module", ["raymu.service.coordinator.coordinator", "raymu.runtime.client"])
def test_a_coordinator_and_its_clients_on_ray_do_without_pytorch(module: str) -> None:
    program = f"import sys, {module}; sys.exit(bool({{'torch', 'pandas', 'matplotlib'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_fleet_of_this_process_imports_pytorch_with_its_first_work(folder: Path) -> None:
    program = (
        "import sys; from raymu.store.run import RunStore; from raymu.service.shard.fleet import LocalFleet; "
        "LocalFleet(RunStore('run')); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=folder, check=False).returncode == 0


@pytest.mark.parametrize("name", ["revoke", "settle", "plan", "verify", "start", "train", "evaluate"])
def test_the_help_of_a_command_imports_neither_pytorch_nor_ray(folder: Path, name: str) -> None:
    assert not imported(folder, name, "--help") & HEAVY


def test_a_revocation_and_a_training_in_this_process_import_neither_ray_nor_pandas(folder: Path) -> None:
    settings = make_config(folder / "all.parquet", cluster={"fleet": "local"})
    (folder / "small.yaml").write_text(json.dumps(settings.tree()), encoding="utf-8")
    trained = imported(folder, "train", "small.yaml", "small")
    revoked = imported(folder, "revoke", "small", "--id", "1007", "--strategy", "sisa")
    assert "torch" in trained & revoked
    assert not (trained | revoked) & (HEAVY - {"torch"} | {"pandas"})


def test_a_patch_in_this_process_imports_nothing_of_the_compiler(folder: Path) -> None:
    settings = make_config(folder / "all.parquet", cluster={"fleet": "local"})
    (folder / "patched.yaml").write_text(json.dumps(settings.tree()), encoding="utf-8")
    imported(folder, "train", "patched.yaml", "patched")
    packages = imported(folder, "revoke", "patched", "--id", "1007", "--strategy", "hs", "--boundary", "0")
    assert "torch" in packages
    assert "sympy" not in packages, "grad_outputs of torch.autograd.grad imports it"
    [receipt] = json.loads(
        subprocess.run(
            [sys.executable, "-m", "raymu.cli", "receipts", "patched", "--json"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
    )["receipts"]
    assert receipt["exactness"] == "approximate", "the revocation was a patch"
