"""The threats of docs/security.md: what somebody else's run may not do to whoever opens it."""

import ast
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raymu
from raymu.api import Run
from raymu.config import Config
from raymu.core.trust import EVERYTHING, NOTHING, Demand, Trust, demands_of
from raymu.core.verdict import Verdict
from raymu.errors import ConfigInvalid, RunUntrusted
from raymu.store.codec import seal, to_tree
from raymu.store.manifest import RunManifest
from raymu.store.run import RunStore
from raymu.store.trust_list import read_trust, remember
from tests.support.examples import make_config, write_samples

ROOT = Path(__file__).parents[2]
FACTORY = "tests.system.own_factory:build"
FEATURES, CLASSES = 6, 3


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with an empty list of what they trust."""
    monkeypatch.delenv("RAYMU_TRUST")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "raymu" / "trusted"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without any demand."""
    folder = tmp_path_factory.mktemp("threats")
    write_samples(folder / "all.parquet", samples=80)
    raymu.train(make_config(folder / "all.parquet"), folder / "run").close()
    return folder


@pytest.fixture
def foreign(sound: Path, tmp_path: Path) -> Path:
    """A copy of the run as somebody sends it, who has its keys."""
    shutil.copytree(sound / "run", tmp_path / "foreign")
    shutil.copy(sound / "all.parquet", tmp_path / "all.parquet")
    return tmp_path / "foreign"


def demand(location: Path, **branches: dict[str, Any]) -> None:
    """Write other settings into a run's manifest, and seal it as its maker can."""
    store = RunStore(str(location))
    tree = to_tree(store.manifest)
    for branch, settings in branches.items():
        tree["config"][branch] |= settings
    config = Config.parse(tree["config"]).tree()
    manifest = RunManifest(**{**_fields(store.manifest), "config": config})
    (location / "run.json").write_bytes(seal(manifest, store.keys.hash_key))


def _fields(manifest: RunManifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in RunManifest.__dataclass_fields__}


def raymu_command(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raymu.cli", *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if name != "RAYMU_TRUST"} | variables
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


def samples() -> np.ndarray:
    return np.zeros((2, FEATURES), dtype=np.float32)


@pytest.fixture
def shell(foreign: Path, tmp_path: Path) -> Path:
    """A run whose model is a command of the shell. Returns the file that the command would write."""
    mark = tmp_path / "was here"
    demand(foreign, model={"name": None, "factory": "os:system", "args": {"command": f"touch '{mark}'"}})
    return mark


def test_code_of_a_foreign_run_is_not_run(foreign: Path, shell: Path) -> None:
    run = raymu.open_run(foreign)
    for command in (
        lambda: run.predict(samples()),
        lambda: run.evaluate(samples(), np.zeros(2, dtype=np.int64)),
        lambda: run.verify(replay=None),
        lambda: run.revoke([1]),
        lambda: run.settle(),
        lambda: run.rebuild(),
    ):
        with pytest.raises(RunUntrusted, match=r"model\.factory os:system.*--trust"):
            command()
    assert not shell.exists()


def test_a_foreign_run_can_be_read_without_running_its_code(foreign: Path, shell: Path) -> None:
    run = raymu.open_run(foreign)
    assert run.status().generation == 1
    assert run.verify().verdict is Verdict.PASS
    assert run.receipts() == []
    assert not shell.exists()


def test_a_refusal_is_one_line_that_says_what_the_run_asks_for_and_nothing_is_written(
    foreign: Path, shell: Path, home: Path
) -> None:
    before = {path: path.read_bytes() for path in foreign.rglob("*") if path.is_file()}
    result = raymu_command("settle", foreign)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert "os:system" in line
    assert "--trust" in line
    assert {path: path.read_bytes() for path in foreign.rglob("*") if path.is_file()} == before
    assert not home.exists()
    assert not shell.exists()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


def is_called(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except TimeoutError:
        return False
    return True


def test_no_password_is_sent_to_the_database_of_a_foreign_run(
    foreign: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    port = listener.getsockname()[1]
    demand(foreign, cluster={"journal": f"postgresql://eve@127.0.0.1:{port}/journal"})
    for words in (["status"], ["receipts"], ["verify"], ["settle"]):
        result = raymu_command(*words, foreign)
        assert result.returncode == (3 if words == ["verify"] else 2), result.stderr
        assert f"cluster.journal postgresql://eve@127.0.0.1:{port}/journal" in " ".join(
            (result.stdout + result.stderr).split()
        )
    assert not is_called(listener)


def test_another_file_is_not_opened_as_the_journal_of_a_foreign_run(foreign: Path, tmp_path: Path) -> None:
    demand(foreign, cluster={"journal": f"sqlite:///{tmp_path / 'other.sqlite'}"})
    with pytest.raises(RunUntrusted, match=r"cluster\.journal"):
        raymu.open_run(foreign).settle()
    assert not (tmp_path / "other.sqlite").exists()


def test_the_cluster_of_a_foreign_run_is_not_joined(foreign: Path, listener: socket.socket) -> None:
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    demand(foreign, cluster={"fleet": "ray", "address": address})
    result = raymu_command("status", foreign)
    assert result.returncode == 0, result.stderr
    with pytest.raises(RunUntrusted, match=rf"cluster\.address {address}"):
        raymu.open_run(foreign).settle()
    assert not is_called(listener)


def test_a_data_file_elsewhere_is_not_fetched_for_a_foreign_run(foreign: Path) -> None:
    demand(foreign, data={"test": "s3://eve/test.parquet?endpoint_override=http://eve.example"})
    with pytest.raises(RunUntrusted, match=r"data\.test s3://eve/test\.parquet"):
        RunStore(str(foreign), trust=read_trust()).data_file("test")


@pytest.fixture
def own(sound: Path, tmp_path: Path) -> Run:
    """A run that the user trained with a factory and a journal of their own."""
    config = make_config(
        sound / "all.parquet",
        model={"factory": FACTORY, "args": {"features": FEATURES, "classes": CLASSES}},
        cluster={"journal": f"sqlite:///{tmp_path / 'own.sqlite'}"},
    )
    with raymu.train(config, tmp_path / "own") as run:
        return run


def test_a_users_own_run_asks_nothing_also_after_it_was_moved_or_copied(own: Run, tmp_path: Path) -> None:
    shutil.copytree(own.location, tmp_path / "copied")
    Path(own.location).rename(tmp_path / "moved")
    for location in ("moved", "copied"):
        with raymu.open_run(tmp_path / location) as run:
            assert run.predict(samples()).shape == (2, CLASSES)
            assert run.verify(replay=None).verdict is Verdict.PASS
    with raymu.open_run(tmp_path / "moved") as run:  # the two share a journal, so the other one is an old copy then
        run.settle()


def test_trust_in_a_factory_is_no_trust_in_it_with_other_arguments(own: Run) -> None:
    [factory, journal] = demands_of(own.config)
    trust = read_trust()
    assert trust.covers(factory)
    assert trust.covers(journal)
    assert not trust.covers(Demand(setting=factory.setting, value=factory.value, args='{"classes":3,"features":7}'))
    assert not trust.covers(Demand(setting="training.loss.factory", value=factory.value, args=factory.args))


@pytest.mark.nightly
def test_a_run_is_trusted_by_an_option_once_and_for_all(own: Run, home: Path) -> None:
    shutil.rmtree(home)
    words = ("verify", own.location, "--replay")
    assert raymu_command(*words).returncode == 2
    assert raymu_command(*words, "--trust").returncode == 0
    assert raymu_command(*words).returncode == 0
    shutil.rmtree(home)
    assert raymu_command(*words, RAYMU_TRUST="all").returncode == 0
    assert not home.exists()


def test_a_run_is_trusted_by_an_argument_for_as_long_as_it_is_open(own: Run, home: Path) -> None:
    shutil.rmtree(home)
    with raymu.open_run(own.location, trust=True) as run:
        assert run.predict(samples()).shape == (2, CLASSES)
        run.settle()
    assert not home.exists()
    with pytest.raises(RunUntrusted):
        raymu.open_run(own.location).predict(samples())


def test_the_list_is_readable_and_may_be_elsewhere(own: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYMU_TRUST", str(tmp_path / "shared"))
    assert remember(demands_of(own.config))
    trees = [json.loads(file.read_text()) for file in (tmp_path / "shared").iterdir()]
    assert {"setting": "model.factory", "value": FACTORY, "args": {"features": FEATURES, "classes": CLASSES}} in trees
    assert read_trust() == Trust(demands=frozenset(demands_of(own.config)))


def test_a_list_that_anyone_can_write_proves_nothing(own: Run, home: Path) -> None:
    next(home.iterdir()).chmod(0o666)
    with pytest.raises(ConfigInvalid, match="anyone can write it"):
        raymu.open_run(own.location)


def test_without_a_home_a_run_is_trained_and_later_needs_the_option(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    config = make_config(
        sound / "all.parquet", model={"factory": FACTORY, "args": {"features": FEATURES, "classes": CLASSES}}
    )
    with raymu.train(config, tmp_path / "own") as run:
        run.predict(samples())
    with pytest.raises(RunUntrusted):
        raymu.open_run(tmp_path / "own").predict(samples())


def test_trust_travels_with_the_run_to_its_workers() -> None:
    import pickle

    trust = Trust(demands=frozenset({Demand(setting="cluster.journal", value="postgresql://db/journal")}))
    for each in (trust, EVERYTHING, NOTHING):
        assert pickle.loads(pickle.dumps(RunStore("run", trust=each))).trust == each


def test_every_place_that_opens_a_run_says_whom_it_trusts() -> None:
    """`RunStore` trusts everything by default, for tests; raymu's own code never leaves it to that."""
    for path in (ROOT / "raymu").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"RunStore", "LocalClient", "RayClient"}:
                assert "trust" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"


def test_only_one_place_takes_the_training_of_a_run_that_exists() -> None:
    """It is where trust in factories is required; `training_plan` has the caller's own settings."""
    places = {
        path.relative_to(ROOT / "raymu").as_posix()
        for path in (ROOT / "raymu").rglob("*.py")
        if "TrainingSpec.of(" in path.read_text(encoding="utf-8")
    }
    assert places == {"service/run_spec.py", "service/training_plan.py"}
