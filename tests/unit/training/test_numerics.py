import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from raymu.data.tables import SampleTable
from raymu.training.batches import ShardSamples
from raymu.training.determinism import deterministic
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import CLASSES, SLICES, make_samples, make_training_config

CPU = torch.device("cpu")
CNN = {"name": "cnn", "channels": [4], "hidden": 6}
ADAM = {"optimizer": "adam", "learning_rate": 0.01}


def images() -> ShardSamples:
    random = np.random.default_rng(4)
    table = SampleTable(
        ids=np.arange(40),
        features=random.normal(size=(40, 2, 6, 6)).astype(np.float32),
        labels=random.integers(0, CLASSES, 40),
    )
    return make_samples(table)


def plan(**settings: Any) -> TrainingSpec:
    config = make_training_config(model=CNN, training=ADAM | settings)
    return TrainingSpec.of(config, input_shape=(2, 6, 6), classes=CLASSES)


def dumped(trainer: ShardTrainer, stage: int) -> tuple[bytes, str]:
    return trainer.dump(stage=stage, determinism="test")


def trained(spec: TrainingSpec, samples: ShardSamples, *, restored_after: int | None = None) -> str:
    """Train all stages, in a new trainer after one of them; return the hash of the weights."""
    with deterministic(CPU, threads=1):
        trainer = ShardTrainer(spec, 0, CPU)
        for stage in range(SLICES):
            trainer.train_stage(samples, stage)
            payload, weights = dumped(trainer, stage)
            if stage == restored_after:
                trainer = ShardTrainer(spec, 0, CPU)
                trainer.load(payload, source="test")
    return weights


NUMERICS: dict[str, dict[str, Any]] = {
    "bf16": {"precision": "bf16"},
    "accumulate": {"accumulate": 3},
    "channels last": {"channels_last": True},
    "all of them": {"precision": "bf16", "accumulate": 2, "channels_last": True, "max_grad_norm": 0.5},
}


@pytest.mark.parametrize("settings", NUMERICS.values(), ids=NUMERICS)
def test_a_restored_training_forgets_exactly_whatever_it_is_computed_with(settings: dict[str, Any]) -> None:
    samples, spec = images(), plan(**settings)
    last = samples.where(samples.slices < SLICES - 1)  # all of the last slice is forgotten
    with deterministic(CPU, threads=1):
        trainer = ShardTrainer(spec, 0, CPU)
        for stage in range(SLICES - 1):
            trainer.train_stage(samples, stage)
        payload, _ = dumped(trainer, SLICES - 2)
        repaired = ShardTrainer(spec, 0, CPU)
        repaired.load(payload, source="test")
        repaired.train_stage(last, SLICES - 1)
        _, weights = dumped(repaired, SLICES - 1)
    assert weights == trained(spec, last)


@pytest.mark.parametrize("settings", NUMERICS.values(), ids=NUMERICS)
def test_each_setting_changes_the_bits_and_the_class(settings: dict[str, Any]) -> None:
    samples = images()
    plain, other = plan(), plan(**settings)
    with deterministic(CPU, 1, 1, other.training) as of_setting, deterministic(CPU, 1, 1, plain.training) as of_default:
        assert of_setting != of_default
        assert of_default.json() == deterministic_json_without_settings()
    if settings != {"channels_last": True}:  # which may compute the same
        assert trained(other, samples) != trained(plain, samples)


def deterministic_json_without_settings() -> str:
    with deterministic(CPU, 1) as determinism:
        assert json.loads(determinism.json()).keys() == {"torch", "device", "threads", "dtype", "deterministic"}
        return determinism.json()


def test_accumulated_gradients_are_those_of_the_batch() -> None:
    samples = images()
    gradients = []
    for parts in (1, 3):
        spec = plan(accumulate=parts, batch_size=64)
        with deterministic(CPU, threads=1):
            trainer = ShardTrainer(replace(spec, epochs=(1, 0, 0)), 0, CPU)
            trainer.train_stage(samples, 0)
            model = trainer.classifier.model
            gradients.append(torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)
    assert gradients[0].abs().max() > 1e-3


def test_bf16_weights_and_predictions_stay_float32() -> None:
    samples = images()
    with deterministic(CPU, threads=1):
        trainer = ShardTrainer(plan(precision="bf16"), 0, CPU)
        trainer.train_stage(samples, 0)
        assert {parameter.dtype for parameter in trainer.classifier.model.parameters()} == {torch.float32}
        assert trainer.classifier.probabilities(samples.features).dtype == np.float32


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own code
def test_a_compiled_training_forgets_exactly() -> None:
    samples, spec = images(), plan(compile=True)
    assert trained(spec, samples, restored_after=1) == trained(spec, samples)
