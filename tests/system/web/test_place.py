"""Where `raymu serve` serves: on Ray Serve where a cluster is named, and in its own process otherwise."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from raymu.cli import run_command
from raymu.runtime.known_cluster import named_cluster
from tests.support.trained_runs import RunTemplates

NAMED = "10.0.0.1:6379"


@pytest.fixture
def without_ray_serve(tmp_path: Path) -> Path:
    """Return a folder that keeps Python from importing what Ray Serve needs, as where the extra is not installed."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['grpc_reflection'] = None\n")
    return folder


def words(location: Path, *options: str) -> list[str]:
    folder = location.parent
    own = ["--port", "0", "--tokens", str(folder / "tokens.json"), "--json"]
    return [sys.executable, "-m", "raymu.cli", "serve", str(location), *own, *options]


def environment(folder: Path, **variables: str) -> dict[str, str]:
    path = os.pathsep.join([str(folder), str(Path(__file__).parents[3])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables}


def test_without_the_extra_it_serves_in_this_process_and_says_how_to_get_ray_serve(
    run_templates: RunTemplates, tmp_path: Path, without_ray_serve: Path
) -> None:
    location = run_templates.copy(tmp_path / "run", cluster={"fleet": "auto"}).location
    process = subprocess.Popen(
        words(location),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(without_ray_serve, RAY_ADDRESS=NAMED),
    )
    try:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            text += process.stdout.readline() or pytest.fail(f"{process.communicate()}")
        document = json.loads(text)
        assert document["on"] == "local"
        with urllib.request.urlopen(f"{document['url']}/healthz") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert out == ""
        [line] = err.splitlines()
        assert line.startswith(
            "raymu: serving in this process: Ray Serve is not installed (grpc_reflection is missing); "
        )
        assert line.endswith("pip install 'raymu[ray-serve]'")
    finally:
        process.kill()
        process.communicate()


def test_ray_serve_without_the_extra_is_refused(
    run_templates: RunTemplates, tmp_path: Path, without_ray_serve: Path
) -> None:
    location = run_templates.copy(tmp_path / "run", cluster={"fleet": "auto"}).location
    command = words(location, "--on", "ray")
    done = subprocess.run(command, capture_output=True, text=True, env=environment(without_ray_serve), check=False)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line == "raymu: Ray Serve is not installed (grpc_reflection is missing); pip install 'raymu[ray-serve]'"
    assert json.loads(done.stdout)["exit_code"] == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--on", "ray"], "cluster.fleet is local, which keeps Ray out of it; give --on local"),
        (["--replicas", "2"], "are for Ray Serve; add --on ray"),
        (["--on", "local", "--cpus-per-replica", "1"], "are for Ray Serve; add --on ray"),
    ],
)
def test_a_run_that_keeps_ray_out_is_never_served_by_it(
    run_templates: RunTemplates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    problem: str,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", NAMED)
    location = run_templates.copy(tmp_path / "run").location
    code, line = run_command(["serve", str(location), "--port", "0", *options])
    assert code == 2
    assert problem in line


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments")  # of Ray Serve
def test_runs_of_different_clusters_are_not_served_together(run_templates: RunTemplates, tmp_path: Path) -> None:
    addresses = {"first": "10.0.0.1:6379", "second": "10.0.0.2:6379"}
    locations = [
        str(run_templates.copy(tmp_path / name, cluster={"fleet": "ray", "address": address}).location)
        for name, address in addresses.items()
    ]
    code, line = run_command(
        ["serve", *locations, "--port", "0", "--tokens", str(tmp_path / "tokens.json"), "--on", "ray"]
    )
    assert code == 2
    assert "the runs name different clusters, 10.0.0.1:6379 and 10.0.0.2:6379; serve them apart" in line


def test_a_cluster_is_named_by_settings_or_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert named_cluster(None) is named_cluster("local") is None
    assert named_cluster(NAMED)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert named_cluster(None) is None
    monkeypatch.setenv("RAY_ADDRESS", NAMED)
    assert named_cluster(None)
