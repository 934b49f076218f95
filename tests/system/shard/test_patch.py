"""The results of a patch, by any of its paths."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from raymu.config import Config
from raymu.core.records import Remedy, SampleId
from raymu.errors import ShardRepairFailed, TrainingFailed
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.run_spec import spec_of
from raymu.service.shard import shard_patcher
from raymu.service.shard.files import StateCache
from raymu.service.shard.messages import RepairTask
from raymu.service.shard.shard_patcher import Patch, ShardPatcher
from raymu.service.shard.worker import ShardWorker
from raymu.store.run import RunStore
from raymu.training.calibration import calibrate
from raymu.training.normalizer import Normalizer
from raymu.training.patch import PatchResult
from raymu.training.spec import TrainingSpec
from tests.support.coordinated_run import ids_at, lineage_of, restored, samples_by_fit, samples_of
from tests.support.examples import create_run, make_config, revoke, write_samples
from tests.support.scripted_fleet import ScriptedFleet
from tests.support.trained_runs import TrainedRunFactory

QUICK = {"samples": 10, "iterations": 1, "steps": 2, "calibration_samples": 1}
"""Settings with which a patch costs less than retraining a shard of few samples, so that `ohs` replays."""


def patched(config: Config, location: Path, *, learning_rate: float) -> Patch:
    """Patch shard 0 without five samples, at another learning rate."""
    create_run(config, location)
    store = RunStore(str(location))
    patches: list[Patch] = []
    ids = ids_at(config, shard=0)

    def patch(task: RepairTask) -> None:
        plan = TrainingSpec.of(config, input_shape=store.manifest.input_shape, classes=store.manifest.classes)
        plan = replace(plan, training=replace(plan.training, learning_rate=learning_rate))
        files = StateCache(store)
        patcher = ShardPatcher(plan, config.unlearning, task.command, files, device=torch.device("cpu"))
        patches.append(patcher.patch(samples_of(config, ids[:5]), samples_of(config, ids[5:]), None))

    revoke(Coordinator(store, ScriptedFleet(store, before=patch)), ids[:5], strategy="ohs")
    return patches[0]


def replayed(config: Config, location: Path, ids: list[SampleId]) -> Patch:
    """Patch a shard of three slices without some samples by replaying the last of its stages."""
    create_run(config, location)
    store = RunStore(str(location))
    patches: list[Patch] = []

    def patch(task: RepairTask) -> None:
        decision = replace(task.command.decision, remedy=Remedy.REPLAY)
        command = replace(task.command, decision=decision)
        patcher = ShardPatcher(
            spec_of(store), config.unlearning, command, StateCache(store), device=torch.device("cpu")
        )
        kept = [sample_id for sample_id in ids_at(config, shard=command.shard) if sample_id not in ids]
        patches.append(patcher.patch(samples_of(config, ids), samples_of(config, kept), None))

    revoke(Coordinator(store, ScriptedFleet(store, before=patch)), ids, strategy="sisa")
    return patches[0]


REPLAYED = {"boundary": 0.0, "ohs": {"remedy": "replay"}}


@pytest.mark.parametrize("contributions", ["curvature", "gradient"])
def test_a_replay_of_every_stage_that_saw_the_forget_set_leaves_what_a_retraining_leaves(
    tmp_path: Path, contributions: str
) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", unlearning={**REPLAYED, "contributions": contributions})
    last = config.partition.slices - 1
    ids = ids_at(config, shard=0, slice_index=last)[:5]
    patch = replayed(config, tmp_path / "run", ids)
    _, weights = patch.trainer.dump(stage=last, determinism="one class")
    assert weights == lineage_of(tmp_path / "run", 0).serving.weights_sha256


@pytest.mark.parametrize("calibration_samples", [0, 1])
def test_a_replay_is_calibrated_to_the_loss_of_the_samples_that_its_checkpoint_saw(
    tmp_path: Path, calibration_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_samples(tmp_path / "all.parquet")
    curvature = {**QUICK, "calibration_samples": calibration_samples}
    config = make_config(
        tmp_path / "all.parquet", unlearning={**REPLAYED, "curvature": curvature}, partition={"shards": 2}
    )
    last = config.partition.slices - 1
    ids = [*ids_at(config, shard=0, slice_index=0)[:4], *ids_at(config, shard=0, slice_index=last)[:4]]
    measured: list[tuple[int, float]] = []

    def calibrated(*parts: Any, unseen_loss: float, **known: Any) -> PatchResult:
        reference = restored(tmp_path / "run", lineage_of(tmp_path / "run", 1).serving)
        _, _, seen, _ = parts
        measured.append((len(seen), unseen_loss - reference.mean_loss(seen.features, seen.labels)))
        return calibrate(*parts, unseen_loss=unseen_loss, **known)

    monkeypatch.setattr(shard_patcher, "calibrate", calibrated)
    replayed(config, tmp_path / "run", ids)
    samples, difference = measured[0]
    assert samples == 4
    assert difference == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("remedy", ["fine_tune", "replay"])
def test_weights_that_are_not_finite_are_a_failed_patch(tmp_path: Path, remedy: str) -> None:
    write_samples(tmp_path / "all.parquet")
    unlearning = {"contributions": "group", "groups_per_slice": 3, "calibration": False}
    config = make_config(
        tmp_path / "all.parquet", unlearning={**unlearning, "boundary": 0.0, "ohs": {"remedy": remedy}}
    )
    patched(config, tmp_path / "sound", learning_rate=0.05)
    with pytest.raises(ShardRepairFailed, match=r"PatchFailed: .* non-finite"):
        patched(config, tmp_path / "broken", learning_rate=1e30)


@pytest.mark.parametrize(
    ("strategy", "ohs", "remedy"),
    [
        ("dpus", "fine_tune", Remedy.PATCH),
        ("ohs", "fine_tune", Remedy.FINE_TUNE),
        ("ohs", "replay", Remedy.REPLAY),
    ],
)
@pytest.mark.parametrize(("slice_index", "fitted_to"), [(0, 0), (1, 0), (None, 1)])
def test_a_patched_shard_normalises_by_its_retained_samples(
    trained_run: TrainedRunFactory, strategy: str, ohs: str, remedy: Remedy, slice_index: int | None, fitted_to: int
) -> None:
    """Ten samples of the slice are forgotten, or the whole first slice if it is None."""
    unlearning = {"boundary": 0.0, "calibration": False, "curvature": QUICK, "ohs": {"remedy": ohs}}
    run = trained_run(training={"epochs": 8}, unlearning=unlearning)
    forgotten = run.ids(shard=0, slice_index=slice_index or 0)[: None if slice_index is None else 10]
    receipt = run.revoke(forgotten, strategy=strategy)
    assert receipt.shards[0].remedy is remedy
    kept = [sample_id for sample_id in run.ids(shard=0, slice_index=fitted_to) if sample_id not in forgotten]
    expected = Normalizer.fit(samples_of(run.config, kept).array, "shard")
    encoder = restored(run.location, lineage_of(run.location, 0).serving).encoder
    assert encoder is not None
    assert torch.equal(encoder.fitted["mean"], expected.mean)
    assert torch.equal(encoder.fitted["scale"], expected.scale)


@pytest.mark.parametrize("calibration", [False, True])
@pytest.mark.parametrize("has_batch_norm", [False, True])
@pytest.mark.parametrize(("strategy", "ohs"), [("dpus", "fine_tune"), ("ohs", "fine_tune"), ("ohs", "replay")])
def test_a_forecast_is_within_twice_the_passes_that_a_patch_takes(
    trained_run: TrainedRunFactory, strategy: str, ohs: str, has_batch_norm: bool, calibration: bool
) -> None:
    """The model fits the samples closely, so that the patch needs calibration."""
    run = trained_run(
        model={"name": "mlp", "hidden": [8], "batch_norm": has_batch_norm},
        training={"epochs": 12, "learning_rate": 0.2},
        partition={"shards": 3},
        unlearning={"boundary": 0.0, "calibration": calibration, "curvature": QUICK, "ohs": {"remedy": ohs}},
    )
    [part] = run.revoke(samples_by_fit(run.config, run.location)[-10:], strategy=strategy).shards
    assert run.store.manifest.has_batch_norm is has_batch_norm
    assert part.remedy is not Remedy.RETRAIN
    assert part.passes / 2 <= part.forecast_passes <= 2 * part.passes


@pytest.mark.parametrize("error", [ValueError, KeyError, TrainingFailed])
def test_a_reason_keeps_no_text_of_the_models_own_errors(
    trained_run: TrainedRunFactory, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """It may name samples, and receipts are never deleted."""
    text = "no vector for sample 1007 of anna@example.org"

    def broken(*_args: object) -> Patch:
        raise TrainingFailed(0, 1, f"ValueError: {text}") if error is TrainingFailed else error(text)

    monkeypatch.setattr(ShardWorker, "_patch", broken)
    run = trained_run()
    [part] = run.revoke(run.ids(shard=0, slice_index=1)[:1], strategy="dpus").shards
    assert part.remedy is Remedy.RETRAIN
    assert part.reason.endswith("; retrained instead")
    assert "failed" in part.reason
    asyncio.run(run.coordinator.close())
    assert not [path for path in run.location.rglob("*") if path.is_file() and b"anna" in path.read_bytes()]
