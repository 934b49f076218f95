"""Callbacks: what they are called with, and that no failure of one stops a request."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import raymu
from raymu.callbacks.callback import GenerationReport, PurgeReport, WatchedRun
from raymu.config import Config
from raymu.core.stage_measures import StageReport
from raymu.core.trust import demands_of
from raymu.errors import ConfigInvalid, RunUntrusted
from raymu.service.coordinator.calls import TrainingResult
from tests.support.examples import make_config, write_samples
from tests.support.trained_runs import TrainedRunFactory

SMALL: dict[str, dict[str, Any]] = {"training": {"epochs": 2}, "partition": {"slices": 2}}


class Recorder(raymu.Callback):
    """Keeps what it is called with, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def of(self, kind: str) -> list[Any]:
        return [argument for name, argument in self.calls if name == kind]

    def on_begin(self, run: WatchedRun) -> None:
        self.calls.append(("begin", run.run_id))

    def on_stage_end(self, stage: StageReport) -> None:
        self.calls.append(("stage", stage))

    def on_generation(self, generation: GenerationReport) -> None:
        self.calls.append(("generation", generation))

    def on_receipt(self, receipt: Mapping[str, Any]) -> None:
        self.calls.append(("receipt", receipt))

    def on_purge(self, purge: PurgeReport) -> None:
        self.calls.append(("purge", purge))

    def on_training_end(self, result: TrainingResult) -> None:
        self.calls.append(("end", result))


class Failing(raymu.Callback):
    """Fails at every call."""

    def on_stage_end(self, stage: StageReport) -> None:
        raise ConnectionError(f"no tracking server for shard {stage.shard}")

    def on_training_end(self, result: TrainingResult) -> None:
        raise ConnectionError(f"no tracking server for generation {result.generation}")


RECORDERS: list[Recorder] = []


def build_recorder() -> Recorder:
    """Build a callback, as a factory of the settings does."""
    RECORDERS.append(Recorder())
    return RECORDERS[-1]


def with_callbacks(config: Config, *callbacks: Any) -> Config:
    return Config.parse({**config.tree(), "callbacks": list(callbacks)})


def test_a_training_and_a_revocation_are_reported_in_order(tmp_path: Path) -> None:
    table, recorder = write_samples(tmp_path / "all.parquet", samples=80), Recorder()
    config = make_config(tmp_path / "all.parquet", **SMALL)
    with raymu.train(config, tmp_path / "run", callbacks=[recorder]) as run:
        kinds = [kind for kind, _ in recorder.calls]
        assert kinds == ["begin", *["stage"] * 4, "generation", "end"]
        assert all(stage.loss > 0 and stage.remedy is None for stage in recorder.of("stage"))
        recorder.calls.clear()
        receipt = run.revoke(table["id"].to_pylist()[:1], strategy="sisa")
    kinds = [kind for kind, _ in recorder.calls if kind != "stage"]
    assert kinds == ["generation", "generation", "receipt", "purge"]
    rewound, repaired = recorder.of("generation")
    assert (rewound.cause, rewound.is_current) == ("rewind", False)
    assert (repaired.cause, repaired.is_current, repaired.requests) == ("repair", True, 1)
    [document] = recorder.of("receipt")
    assert document["request_id"] == receipt.request_id
    assert document["signature"]
    [purge] = recorder.of("purge")
    assert (purge.generation, purge.requests) == (repaired.number, 1)
    assert purge.files > 0


def test_a_callback_of_another_process_sees_what_is_new_and_no_more(trained_run: TrainedRunFactory) -> None:
    trained, recorder = trained_run(**SMALL), Recorder()
    first, second, *_ = trained.ids(shard=0)
    with raymu.open_run(trained.location) as other:
        other.revoke([first], strategy="sisa")
    with raymu.open_run(trained.location, callbacks=[recorder]) as run:
        run.revoke([second], strategy="sisa")
    [document] = recorder.of("receipt")
    assert document["ledger"]["number"] == 2


def test_a_failing_callback_is_logged_once_and_stops_no_request(
    trained_run: TrainedRunFactory, caplog: pytest.LogCaptureFixture
) -> None:
    trained, recorder = trained_run(**SMALL), Recorder()
    sample, *_ = trained.ids(shard=0, slice_index=0)
    with (
        caplog.at_level(logging.WARNING, logger="raymu"),
        raymu.open_run(trained.location, callbacks=[Failing(), recorder]) as run,
    ):
        assert run.revoke([sample], strategy="sisa").is_exact
    lines = [record.message for record in caplog.records if "callback" in record.message]
    assert len(lines) == 1
    assert "callback Failing failed, and work went on: no tracking server" in lines[0]
    assert len(recorder.of("receipt")) == 1


def test_callbacks_of_the_settings_are_built_with_them(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet", samples=80)
    factory = {"factory": f"{__name__}:build_recorder"}
    config = with_callbacks(make_config(tmp_path / "all.parquet", **SMALL), factory)
    RECORDERS.clear()
    with raymu.train(config, tmp_path / "run"):
        pass
    assert len(RECORDERS[-1].of("generation")) == 1
    refused = with_callbacks(config, {"name": "tensorboard", "folders": "x"})
    with pytest.raises(ConfigInvalid, match=r"callbacks\.folders: tensorboard has no such setting"):
        raymu.train(refused, tmp_path / "other")
    with pytest.raises(ConfigInvalid, match=r"must return a raymu\.Callback"):
        raymu.train(with_callbacks(config, {"factory": "builtins:dict"}), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_callbacks_of_a_run_of_someone_else_need_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_samples(tmp_path / "all.parquet", samples=80)
    factory = f"{__name__}:build_recorder"
    config = with_callbacks(make_config(tmp_path / "all.parquet", **SMALL), {"factory": factory})
    assert [demand.value for demand in demands_of(with_callbacks(config, "tensorboard"))] == ["tensorboard"]
    assert [demand.value for demand in demands_of(config)] == [factory]
    with raymu.train(config, tmp_path / "run"):
        pass
    monkeypatch.delenv("RAYMU_TRUST")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    with pytest.raises(RunUntrusted, match="build_recorder"), raymu.open_run(tmp_path / "run") as run:
        run.revoke(table["id"].to_pylist()[:1])


def test_tensorboard_gets_the_losses_of_every_stage(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from raymu.callbacks.tensorboard import TensorBoard

    recorder = Recorder()
    write_samples(tmp_path / "all.parquet", samples=80)
    callbacks = [TensorBoard(folder=str(tmp_path / "events")), recorder]
    with raymu.train(make_config(tmp_path / "all.parquet", **SMALL), tmp_path / "run", callbacks=callbacks):
        pass
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    for stage in recorder.of("stage"):
        values = {event.step: event.value for event in events.Scalars(f"loss/shard-{stage.shard}")}
        assert values[stage.stage] == pytest.approx(stage.loss)


def test_wandb_gets_the_losses_without_a_server(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    from raymu.callbacks.wandb import WandB

    write_samples(tmp_path / "all.parquet", samples=80)
    callback = WandB(mode="disabled", dir=str(tmp_path))
    with raymu.train(make_config(tmp_path / "all.parquet", **SMALL), tmp_path / "run", callbacks=[callback]):
        pass
    assert callback._run.summary["generation"] == 1


def test_settings_of_callbacks_are_kept_as_they_were_written(tmp_path: Path) -> None:
    config = with_callbacks(make_config(tmp_path / "a.parquet"), "tensorboard", {"name": "mlflow", "experiment": "x"})
    tree = json.loads(json.dumps(config.tree()))
    assert tree["callbacks"][0] == "tensorboard"
    assert Config.parse(tree) == config
