"""MLflow: each generation is a version of a model, and the superseded one is deleted with its bytes."""

import json
from pathlib import Path
from typing import Any

import pytest

import raymu
from raymu.config import Config
from tests.support.examples import make_config, write_samples

pytest.importorskip("mlflow")

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's own imports


def tracked_runs(client: Any, experiment: str) -> list[Any]:
    runs: list[Any] = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return runs


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in SQLite, whose tables take MLflow seconds to create."""
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of the store. Artifacts of a new experiment lie in `mlruns` of the present folder."""
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{database}"


def test_a_purge_deletes_the_superseded_version_and_its_bytes(tmp_path: Path, store: str) -> None:
    from mlflow import MlflowClient

    table = write_samples(tmp_path / "all.parquet", samples=80)
    callback: dict[str, Any] = {"name": "mlflow", "tracking_uri": store, "model": "letters"}
    config = make_config(tmp_path / "all.parquet", training={"epochs": 2}, partition={"slices": 2})
    config = Config.parse({**config.tree(), "callbacks": [callback]})
    client = MlflowClient(tracking_uri=store)
    with raymu.train(config, tmp_path / "run") as run:
        [before] = client.search_model_versions("name = 'letters'")
        assert before.tags["raymu.generation"] == "1"
        [tracked] = tracked_runs(client, "raymu")
        assert tracked.data.params["training.epochs"] == "2"
        assert tracked.data.metrics["loss/shard-0"] > 0.0
        artifacts = Path(tracked.info.artifact_uri.removeprefix("file://"))
        superseded = (artifacts / "generation-1" / "ensemble.safetensors").read_bytes()
        receipt = run.revoke(table["id"].to_pylist()[:1], strategy="sisa")
        served = run.generation
    [now] = client.search_model_versions("name = 'letters'")
    assert now.tags["raymu.generation"] == str(served)
    assert {path.split("/")[0] for path in files_in(artifacts)} == {f"generation-{served}", "receipts"}
    assert all(path.read_bytes() != superseded for path in tmp_path.rglob("*") if path.is_file())
    document = json.loads((artifacts / "receipts" / "000001.json").read_text())
    assert document["request_id"] == receipt.request_id


@pytest.mark.nightly
def test_what_an_interruption_left_is_deleted_when_the_run_is_next_worked_on(tmp_path: Path, store: str) -> None:
    from mlflow import MlflowClient

    from raymu.callbacks.mlflow import MLflow

    table = write_samples(tmp_path / "all.parquet", samples=80)
    config = make_config(tmp_path / "all.parquet", training={"epochs": 2}, partition={"slices": 2})
    with raymu.train(
        config, tmp_path / "run", callbacks=[MLflow(tracking_uri=store, model="notes", experiment="notes")]
    ):
        pass
    with raymu.open_run(tmp_path / "run") as unwatched:
        unwatched.revoke(table["id"].to_pylist()[:1], strategy="sisa")
    client = MlflowClient(tracking_uri=store)
    assert len(client.search_model_versions("name = 'notes'")) == 1
    with raymu.open_run(
        tmp_path / "run", callbacks=[MLflow(tracking_uri=store, model="notes", experiment="notes")]
    ) as watched:
        watched.settle()
    assert not client.search_model_versions("name = 'notes'")
    [tracked] = tracked_runs(client, "notes")
    assert files_in(Path(tracked.info.artifact_uri.removeprefix("file://"))) == set()
