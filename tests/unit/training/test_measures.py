"""The loss of a stage, validation on held-out samples, and early stopping."""

import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from raymu.config import TargetName, ValidationConfig
from raymu.training.held_out import HeldOut
from raymu.training.spec import TrainingSpec
from raymu.training.stages import train_stages
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import STATEFUL, make_plan, make_samples, make_table, stages_for

CPU = torch.device("cpu")


def read_held_out() -> tuple[Any, Any]:
    """Return noisy samples, with the labels of some of them wrong, so that long training does not pay."""
    table, random = make_table(), np.random.default_rng(1)
    features = table.array + random.normal(size=table.array.shape).astype(np.float32)
    return features, np.where(table.ids % 4 == 0, (table.labels + 1) % 3, table.labels)


def with_held_out(spec: TrainingSpec, **settings: Any) -> TrainingSpec:
    validation = ValidationConfig(data="held-out.parquet", **settings)
    return replace(spec, held_out=HeldOut(read_held_out, validation, TargetName.CLASSES))


def last_weights(spec: TrainingSpec, workers: int = 1) -> list[str]:
    task = replace(stages_for(workers, {}), spec=spec)
    return [result.weights_sha256 for result in train_stages(task)]


def test_the_loss_of_a_stage_is_the_mean_over_the_batches_of_its_last_epoch() -> None:
    spec, samples = make_plan(), make_samples()
    trainer, again = ShardTrainer(spec, 0, CPU), ShardTrainer(spec, 0, CPU)
    trainer.train_stage(samples, 0)
    values: list[tuple[float, int]] = []
    loss = again.classifier.loss
    again.classifier.loss = lambda outputs, targets, *rest: _seen(loss(outputs, targets, *rest), len(targets), values)
    again.train_stage(samples, 0)
    own = len(samples.up_to(0))
    batches = values[-math.ceil(own / 8) :]
    assert sum(count for _, count in batches) == own
    expected = sum(value * count for value, count in batches) / own
    assert trainer.measures is not None
    assert trainer.measures.loss == pytest.approx(expected, rel=1e-6)


def _seen(value: torch.Tensor, count: int, values: list[tuple[float, int]]) -> torch.Tensor:
    values.append((float(value.detach()), count))
    return value


@pytest.mark.parametrize("workers", [1, 2])
def test_validation_without_patience_changes_no_bit(workers: int) -> None:
    spec = make_plan(cluster={"workers_per_shard": workers})
    assert last_weights(with_held_out(spec), workers) == last_weights(spec, workers)


def test_every_stage_reports_what_its_state_scores_on_held_out_samples() -> None:
    spec = with_held_out(make_plan())
    results = list(train_stages(replace(stages_for(1, {}), spec=spec)))
    measures = results[-1].measures
    assert measures is not None
    assert measures.epochs == spec.epochs[-1]
    trainer = ShardTrainer(spec, 0, CPU)
    trainer.load(results[-1].checkpoint, source="the last stage")
    features, labels = read_held_out()
    predicted = trainer.classifier.probabilities(features).argmax(axis=1)
    assert measures.validation_score == (predicted == labels).mean()
    assert measures.validation_loss == pytest.approx(trainer.classifier.mean_loss(features, labels))


def early(**settings: Any) -> TrainingSpec:
    spec = make_plan(**STATEFUL | {"training": {**STATEFUL["training"], "epochs": 40, "learning_rate": 0.05}})
    return with_held_out(spec, **settings)


@pytest.mark.parametrize("metric", ["loss", "score"])
def test_with_patience_a_stage_ends_early_and_with_its_best_weights(metric: str) -> None:
    spec, samples = early(patience=2, metric=metric), make_samples()
    trainer = ShardTrainer(spec, 0, CPU)
    passes = trainer.train_stage(samples, 0)
    measures, own = trainer.measures, len(samples.up_to(0))
    assert measures is not None
    assert measures.epochs is not None
    assert measures.epochs < spec.epochs[0]
    assert passes == measures.epochs * own
    # Training for as many epochs as the best state had gives the same state.
    best = measures.epochs - 2
    again = ShardTrainer(replace(spec, held_out=None), 0, CPU)
    again.fit_encoder(samples.up_to(0))
    for epoch in range(best):
        prepared, targets = again._prepared(samples)
        again._train_stage_epoch(prepared.first(own), targets[:own], samples.up_to(0), 0, epoch, None)
    assert trainer.dump(stage=0, determinism="")[0] == again.dump(stage=0, determinism="")[0]


def test_patience_never_ends_a_stage_that_keeps_improving() -> None:
    spec = with_held_out(make_plan(), patience=100)
    assert last_weights(spec)[-1] != ""
    for result in train_stages(replace(stages_for(1, {}), spec=spec)):
        assert result.measures is not None
        assert result.measures.epochs == spec.epochs[result.stage]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_restored_stage_ends_with_the_same_bits_as_training_on(workers: int) -> None:
    spec = early(patience=1) if workers == 1 else replace(early(patience=1), workers=2)
    task = replace(stages_for(workers, {}), spec=spec)
    results = list(train_stages(task))
    restored = list(train_stages(task.after(results[0])))
    assert [result.checkpoint for result in restored] == [result.checkpoint for result in results[1:]]


def test_held_out_samples_travel_as_what_reads_them() -> None:
    held_out = with_held_out(make_plan(), patience=3).held_out
    assert held_out is not None
    _ = held_out.samples
    copy = pickle.loads(pickle.dumps(held_out))
    assert "samples" not in vars(copy)
    assert copy.settings == held_out.settings
