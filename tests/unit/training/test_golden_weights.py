"""Trained and patched weights stay the same, bit for bit, when the code changes.

`golden_weights.json` holds hashes of one determinism class. Another class gives other bits, so the tests are skipped there.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raymu.config.unlearning import Contributions
from raymu.core.partition import identity_hashes
from raymu.data.tables import SampleTable
from raymu.training.batches import ShardSamples
from raymu.training.calibration import calibrate
from raymu.training.contributions import CONTRIBUTIONS
from raymu.training.determinism import determinism_class, deterministic
from raymu.training.patch import fine_tune
from raymu.training.spec import TrainingSpec
from raymu.training.stages import StageTask, train_stages
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import SLICES, contributions_task, make_samples, make_training_config

GOLDEN: Mapping[str, Any] = json.loads(Path(__file__).with_name("golden_weights.json").read_text())
CPU = torch.device("cpu")
Branches = Mapping[str, Mapping[str, Any]]

MODELS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"name": "mlp", "hidden": [8]},
    "dropout": {"name": "mlp", "hidden": [8, 6], "dropout": 0.3},
    "batch norm": {"name": "mlp", "hidden": [8], "batch_norm": True},
    "cnn": {"name": "cnn", "channels": [4, 6], "hidden": 8, "dropout": 0.2},
}
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"weight_decay": 0.01},
    "momentum": {"momentum": 0.9, "schedule": "linear"},
    "adam": {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.01, "schedule": "cosine"},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1, "stage_decay": 0.5},
}
GROUPS = {"contributions": "group", "groups_per_slice": 3}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One training: its settings over those of `make_training_config`, and which samples it trains on."""

    branches: Mapping[str, Any]
    is_images: bool


def case(model: str, optimizer: str, contributions: Mapping[str, Any], workers: int) -> Case:
    branches = {
        "model": MODELS[model],
        "training": {"learning_rate": 0.1, "schedule": "constant", **OPTIMIZERS[optimizer]},
        "unlearning": contributions,
        "cluster": {"workers_per_shard": workers},
    }
    return Case(branches=branches, is_images=model == "cnn")


CASES: Mapping[str, Case] = {
    f"{model}, {optimizer}, {workers} ranks": case(model, optimizer, {}, workers)
    for model in MODELS
    for optimizer in OPTIMIZERS
    for workers in (1, 2)
} | {
    f"{model}, {optimizer}, {contributions['contributions']}, {workers} ranks": case(
        model, optimizer, contributions, workers
    )
    for model in MODELS
    for optimizer, contributions in (("sgd", GROUPS), ("adam", {"contributions": "batch"}))
    for workers in (1, 2)
}
PATCHED = {name: each for name, each in CASES.items() if "1 ranks" in name and "adamw" not in name}


def images(count: int = 40) -> ShardSamples:
    """Patterns of 8x8 pixels, one for each class, with noise."""
    random = np.random.default_rng(5)
    labels = random.integers(0, 3, count)
    patterns = random.integers(0, 200, (3, 8, 8))
    features = (patterns[labels] + random.integers(0, 56, (count, 8, 8))).astype(np.uint8)
    table = SampleTable(ids=np.arange(count), features=features, labels=labels)
    hashes = identity_hashes(table.ids.tolist(), seed=11, purpose="order")
    return ShardSamples.ordered(table, hashes=hashes, slices=table.ids.astype(np.int64) % SLICES)


def samples_of(each: Case) -> ShardSamples:
    return images() if each.is_images else make_samples()


def spec_of(each: Case) -> TrainingSpec:
    config = make_training_config(**each.branches)
    return TrainingSpec.of(config, input_shape=(8, 8) if each.is_images else (4,), classes=3)


def trained(each: Case) -> list[str]:
    """Hashes of each stage's weights, checkpoint file and recorded updates."""
    task = StageTask(
        spec=spec_of(each),
        shard=0,
        samples=samples_of(each),
        first=0,
        checkpoint=None,
        contributions=Contributions(each.branches["unlearning"].get("contributions", "gradient")),
        device="cpu",
        threads=1,
    )
    hashes = []
    for result in train_stages(task):
        files = (result.checkpoint, result.updates or b"")
        hashes.append(
            " ".join([result.weights_sha256[:16], *(hashlib.sha256(file).hexdigest()[:16] for file in files)])
        )
    return hashes


def patched(each: Case) -> list[str]:
    """Weights after fine-tuning and a calibrated gradient patch, with the losses that the search saw."""
    samples, spec = samples_of(each), spec_of(each)
    with deterministic(CPU, 1):
        trainer = ShardTrainer(spec, 0, CPU)
        for stage in range(SLICES):
            trainer.train_stage(samples, stage)
        is_forgotten = np.arange(len(samples)) % 9 == 4
        forget, retain = samples.where(is_forgotten), samples.where(~is_forgotten)
        fine_tune(trainer, retain, forget, rate=0.01, epochs=2, seed=3)
        task = contributions_task(trainer.classifier, forget, retain, rate=0.1)
        contribute = CONTRIBUTIONS[Contributions.GRADIENT].prepare(task)
        loss = trainer.classifier.mean_loss(forget.features, forget.labels)
        result = calibrate(trainer.classifier, contribute, forget, retain, unseen_loss=1.5 * loss + 0.01)
        _, weights = trainer.dump(stage=SLICES - 1, determinism="one class")
    return [weights[:16], result.forget_loss.hex(), float(loss).hex()]


@pytest.fixture(autouse=True)
def the_golden_class() -> None:
    ours = determinism_class(CPU, 1).json()
    if ours != GOLDEN["determinism"]:
        pytest.skip(f"the golden hashes are of another determinism class: {GOLDEN['determinism']}, here {ours}")


@pytest.mark.parametrize("name", CASES)
def test_training_gives_the_golden_weights(name: str) -> None:
    assert trained(CASES[name]) == GOLDEN["trained"][name]


@pytest.mark.parametrize("name", PATCHED)
def test_patching_gives_the_golden_weights(name: str) -> None:
    assert patched(PATCHED[name]) == GOLDEN["patched"][name]
