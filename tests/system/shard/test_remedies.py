"""The results of remedies: calibrated patches, spent contributions, new batch-norm statistics, empty shards."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raymu.config import Config
from raymu.config.unlearning import Contributions
from raymu.core.receipt import Receipt
from raymu.core.records import Exactness, Remedy, SampleId, ShardState
from raymu.data.tables import read_table
from raymu.errors import NoVoters
from raymu.service.prediction import Ensemble
from raymu.training.patch import recompute_batch_norm
from tests.support.coordinated_run import (
    constituent_of,
    ids_at,
    lineage_of,
    restored,
    samples_by_fit,
    samples_of,
    weights_of,
    write_images,
)
from tests.support.examples import make_config, revoke, train_run, write_samples
from tests.support.trained_runs import TrainedRunFactory

MLP = {"name": "mlp", "hidden": [8]}
TOLERANCE = 0.021
"""Of the unseen loss: the line search's own, and as much for batch-norm statistics."""


def patched_run(
    tmp_path: Path, strategy: str, unlearning: dict[str, Any], *, model: dict[str, Any] = MLP
) -> tuple[Config, list[SampleId], Receipt]:
    """Patch a run that fits its samples closely, for the ten samples of shard 0 that it fits best compared with shard 1."""
    write_samples(tmp_path / "all.parquet")
    config = make_config(
        tmp_path / "all.parquet",
        model=model,
        training={"epochs": 12, "learning_rate": 0.2},
        partition={"shards": 3},
        unlearning={"boundary": 0.0, **unlearning},
    )
    run = train_run(config, tmp_path / "run")
    ids = samples_by_fit(config, tmp_path / "run")[-10:]
    return config, ids, revoke(run, ids, strategy=strategy)


@pytest.mark.parametrize("contributions", list(Contributions))
@pytest.mark.parametrize(
    ("strategy", "ohs", "remedy"),
    [
        ("dpus", "fine_tune", Remedy.PATCH),
        ("hs", "fine_tune", Remedy.PATCH),
        ("ohs", "fine_tune", Remedy.FINE_TUNE),
        ("ohs", "replay", Remedy.REPLAY),
    ],
)
@pytest.mark.parametrize("has_batch_norm", [False, True])
def test_a_patched_shard_treats_forgotten_samples_as_unseen(
    tmp_path: Path, strategy: str, ohs: str, remedy: Remedy, contributions: Contributions, has_batch_norm: bool
) -> None:
    # So few samples cost less than retraining a small shard, and `ohs` replays.
    curvature = {"samples": 8, "iterations": 1, "steps": 2, "calibration_samples": 0}
    unlearning = {
        "contributions": contributions,
        "curvature": curvature,
        "groups_per_slice": 3,
        "ohs": {"remedy": ohs},
    }
    model = {**MLP, "batch_norm": has_batch_norm}
    config, ids, receipt = patched_run(tmp_path, strategy, unlearning, model=model)
    [part] = receipt.shards
    assert (part.planned, receipt.strategy) == (remedy, strategy)
    if part.remedy is Remedy.RETRAIN:  # whole batches taken out of a shard may leave nothing to calibrate
        assert contributions.is_recorded
        assert "retrained instead" in part.reason
        assert receipt.exactness is Exactness.EXACT
        return
    assert receipt.exactness is Exactness.APPROXIMATE
    serving = restored(tmp_path / "run", lineage_of(tmp_path / "run", 0).serving)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in serving.tensors().values())
    forget = samples_of(config, ids)
    assert part.forget_loss == pytest.approx(serving.mean_loss(forget.features, forget.labels), rel=1e-4)
    others = [restored(tmp_path / "run", lineage_of(tmp_path / "run", shard).serving) for shard in (1, 2)]
    unseen = np.mean([other.mean_loss(forget.features, forget.labels) for other in others])
    assert part.unseen_loss == pytest.approx(unseen, rel=1e-4)
    assert part.forget_loss is not None
    assert part.forget_loss >= unseen * (1 - TOLERANCE)
    if remedy is Remedy.PATCH:  # after more training the samples may lie beyond it already
        assert part.forget_loss <= unseen * (1 + TOLERANCE)


@pytest.mark.parametrize(
    "model",
    [
        {"name": "logistic"},
        {"name": "mlp", "hidden": [16], "dropout": 0.2},
        {"name": "cnn", "channels": [4], "hidden": 16},
        {"name": "resnet", "channels": [4, 4]},
        {"factory": "tests.support.transformer:build", "args": {"features": 16, "classes": 3}},
    ],
    ids=["logistic", "mlp", "cnn", "resnet", "transformer"],
)
@pytest.mark.parametrize("calibration_samples", [0, 256])
def test_the_default_patch_works_on_every_kind_of_model(
    tmp_path: Path, model: dict[str, Any], calibration_samples: int
) -> None:
    write_images(tmp_path / "images.parquet", samples=240)
    config = make_config(
        tmp_path / "images.parquet",
        model=model,
        training={"epochs": 16, "optimizer": "adam", "learning_rate": 0.01, "schedule": "linear"},
        partition={"shards": 3},
        unlearning={"curvature": {"calibration_samples": calibration_samples}},
    )
    run = train_run(config, tmp_path / "run")
    ids = samples_by_fit(config, tmp_path / "run")[-6:]
    [part] = revoke(run, ids, strategy="dpus").shards
    assert (part.remedy, part.reason) == (Remedy.PATCH, "dpus always patches")
    assert part.forget_loss is not None
    assert part.unseen_loss is not None
    if not calibration_samples:  # else other samples decide too
        assert part.forget_loss >= part.unseen_loss * (1 - TOLERANCE)


def test_samples_that_look_unseen_already_are_not_unlearned_further(trained_run: TrainedRunFactory) -> None:
    """Unlearning them further would be over-forgetting, if their own loss is the measure."""
    run = trained_run(unlearning={"curvature": {"calibration_samples": 0}})
    ids = samples_by_fit(run.config, run.location)[:10]
    before = weights_of(run.location, 0)
    [part] = run.revoke(ids, strategy="dpus").shards
    assert part.forget_loss is not None
    assert part.unseen_loss is not None
    assert part.forget_loss > part.unseen_loss
    assert torch.equal(weights_of(run.location, 0), before)


def test_without_calibration_contributions_are_subtracted_once(tmp_path: Path) -> None:
    _, _, receipt = patched_run(tmp_path, "dpus", {"calibration": False})
    [part] = receipt.shards
    assert (part.remedy, part.unseen_loss) == (Remedy.PATCH, None)
    assert part.forget_loss is not None


def test_a_patch_without_a_reference_model_retrains_and_says_so(trained_run: TrainedRunFactory) -> None:
    run = trained_run(partition={"shards": 1})
    receipt = run.revoke(run.ids(slice_index=0)[:3], strategy="dpus")
    [part] = receipt.shards
    assert (part.planned, part.remedy) == (Remedy.RETRAIN, Remedy.RETRAIN)
    assert part.forecast_passes == part.passes
    assert part.reason == "no model that never saw these samples is there to calibrate a patch by"
    assert receipt.exactness is Exactness.EXACT


def test_a_single_shard_is_patched_towards_its_own_untouched_checkpoint(trained_run: TrainedRunFactory) -> None:
    run = trained_run(partition={"shards": 1})
    ids = run.ids(slice_index=2)[:3]
    receipt = run.revoke(ids, strategy="dpus")
    checkpoint = lineage_of(run.location, 0).checkpoints[1]
    assert checkpoint is not None
    forget = samples_of(run.config, ids)
    unseen = restored(run.location, checkpoint).mean_loss(forget.features, forget.labels)
    assert receipt.shards[0].remedy is Remedy.PATCH
    assert receipt.shards[0].unseen_loss == pytest.approx(unseen, rel=1e-4)


@pytest.mark.parametrize("strategy", ["dpus", "ohs"])
def test_a_patched_batch_norm_model_has_the_statistics_of_its_retained_samples(tmp_path: Path, strategy: str) -> None:
    unlearning = {"ohs": {"remedy": "fine_tune"}}  # a replay would save nothing on so small a shard
    config, ids, receipt = patched_run(tmp_path, strategy, unlearning, model={**MLP, "batch_norm": True})
    assert receipt.exactness is Exactness.APPROXIMATE
    serving = restored(tmp_path / "run", lineage_of(tmp_path / "run", 0).serving)
    served = {name: tensor.clone() for name, tensor in serving.tensors().items()}
    retain = samples_of(config, [sample_id for sample_id in ids_at(config, shard=0) if sample_id not in ids])
    recompute_batch_norm(serving, retain)
    for name, tensor in serving.tensors().items():
        assert torch.allclose(served[name], tensor), name


@pytest.mark.parametrize("strategy", ["sisa", "dpus", "ohs"])
def test_a_shard_without_samples_abstains(trained_run: TrainedRunFactory, strategy: str) -> None:
    run = trained_run()
    receipt = run.revoke(run.ids(shard=0), strategy=strategy)
    assert receipt.exactness is Exactness.EXACT
    assert constituent_of(run.location, 0).state is ShardState.ABSTAINING
    probabilities = Ensemble.current(run.store).predict(np.zeros((4, 6), dtype=np.float32))
    assert probabilities.shape == (4, 3)


def test_a_run_whose_shards_are_all_empty_refuses_to_predict(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    run.revoke(run.ids(shard=1), strategy="hs")
    receipt = run.revoke(run.ids(shard=0), strategy="hs")
    with pytest.raises(NoVoters) as refusal:
        Ensemble.current(run.store)
    assert refusal.value.generation == receipt.generation_after


@pytest.mark.parametrize("strategy", ["sisa", "dpus", "ohs"])
def test_a_whole_class_can_be_revoked(trained_run: TrainedRunFactory, strategy: str) -> None:
    run = trained_run(training={"epochs": 12, "learning_rate": 0.2})
    table = read_table(run.config.data.train, run.config.data)
    ids = table.ids[table.labels == 2].tolist()
    store = run.store
    features = table.features[table.labels == 2]
    known = Ensemble.current(store).evaluate(features, table.labels[table.labels == 2]).accuracy
    run.revoke(ids, strategy=strategy)
    run.settle()
    assert known > 0.9
    assert Ensemble.current(store).evaluate(features, table.labels[table.labels == 2]).accuracy == 0.0
