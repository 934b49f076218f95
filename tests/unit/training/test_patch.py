"""A patch's weights and batch-norm statistics, and fine-tuning."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from raymu.errors import PatchFailed
from raymu.training.batches import ShardSamples
from raymu.training.patch import fine_tune, recompute_batch_norm, subtract
from raymu.training.trainer import ShardTrainer
from tests.support.patches import fixed, make_samples, make_training, parameters


def test_the_published_rule_subtracts_the_contributions_once() -> None:
    samples = make_samples(60, seed=1)
    classifier = make_training(samples).classifier
    before, contributions = parameters(classifier), torch.linspace(-0.1, 0.1, len(parameters(classifier)))
    subtract(classifier, fixed(contributions), samples.where(np.arange(60) < 8), samples)
    assert torch.equal(parameters(classifier), before - contributions)


def test_contributions_that_break_the_weights_are_a_failed_patch() -> None:
    samples = make_samples(60, seed=1)
    classifier = make_training(samples).classifier
    contributions = torch.full_like(parameters(classifier), math.inf)
    with pytest.raises(PatchFailed, match=r"non-finite values in 1\.weight"):
        subtract(classifier, fixed(contributions), samples, samples)


def test_batch_norm_without_enough_retained_samples_is_a_failed_patch() -> None:
    samples = make_samples(60, seed=1)
    classifier = make_training(samples, batch_norm=True).classifier
    with pytest.raises(PatchFailed, match="fewer than two samples are retained"):
        recompute_batch_norm(classifier, samples.where(np.arange(60) < 1))


def test_recomputing_statistics_takes_the_retained_samples_alone_and_restores_the_modes() -> None:
    samples = make_samples(60, seed=1)
    classifier = make_training(samples, batch_norm=True, dropout=0.5).classifier
    retain = samples.where(np.arange(60) >= 30)
    classifier.model.train()
    assert recompute_batch_norm(classifier, retain) == pytest.approx(10.0)
    assert all(module.training for module in classifier.model.modules())
    assert isinstance(classifier.model, torch.nn.Sequential)
    _, linear, norm, *_ = classifier.model
    assert isinstance(norm, torch.nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.momentum == 0.1
    hidden = linear(classifier.prepare(retain.features).all()).detach()
    assert torch.allclose(norm.running_mean, hidden.mean(dim=0), atol=1e-5)


def watched(training: ShardTrainer, unseen: ShardSamples) -> list[tuple[float, float]]:
    """Record each later epoch's learning rate, and the loss on unseen samples after it."""
    epochs: list[tuple[float, float]] = []
    train_epoch = training.train_epoch

    def noted(*args: Any, **known: Any) -> None:
        train_epoch(*args, **known)
        loss = training.classifier.mean_loss(unseen.features, unseen.labels)
        epochs.append((training.optimizer.param_groups[0]["lr"], loss))

    training.train_epoch = noted  # type: ignore[method-assign]
    return epochs


def test_the_rate_of_fine_tuning_falls_to_0_while_the_loss_on_unseen_samples_improves() -> None:
    samples = make_samples(60, seed=1)
    training = make_training(samples)
    epochs = watched(training, samples)
    passes = fine_tune(training, samples, samples, rate=0.2, epochs=4, seed=7)
    assert [rate for rate, _ in epochs] == pytest.approx([0.2, 0.15, 0.1, 0.05])
    assert passes == pytest.approx(4 * 60 + 5 * 60 / 3)


def test_fine_tuning_keeps_its_best_epoch_on_unseen_samples() -> None:
    """The first epoch is better than none. The second is worse, and the last one."""
    samples, unseen = make_samples(60, seed=2), make_samples(40, seed=7)
    training = make_training(samples)
    before = training.classifier.mean_loss(unseen.features, unseen.labels)
    epochs = watched(training, unseen)
    fine_tune(training, samples, unseen, rate=1.0, epochs=8, seed=7)
    (_, best), (_, worse) = epochs
    assert best < min(before, worse)
    assert training.classifier.mean_loss(unseen.features, unseen.labels) == best


def test_fine_tuning_without_unseen_samples_is_one_epoch() -> None:
    samples = make_samples(60, seed=1)
    training = make_training(samples)
    before = parameters(training.classifier)
    assert fine_tune(training, samples, None, rate=0.3, epochs=5, seed=7) == 60
    assert not torch.equal(parameters(training.classifier), before)


def test_fine_tuning_on_nothing_changes_nothing() -> None:
    samples = make_samples(60, seed=1)
    training = make_training(samples)
    before = parameters(training.classifier)
    assert fine_tune(training, samples.where(np.arange(60) < 0), None, rate=0.3, epochs=5, seed=7) == 0
    assert torch.equal(parameters(training.classifier), before)
