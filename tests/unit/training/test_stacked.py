"""Small models that are evaluated together: which are, and that their predictions have the bits of the single ones."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from raymu.core.arrays import Features
from raymu.training.classifier import Classifier
from raymu.training.constituents import PREDICTED_BATCH, Constituents
from raymu.training.losses import build_loss
from raymu.training.normalizer import Normalizer
from raymu.training.stacked import MOST_SAMPLES, StackedModels


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 5))


def make_classifiers(build: Callable[[], nn.Module], *, width: int = 16, models: int = 3) -> list[Classifier]:
    """Return classifiers with normalizers of their own, fitted to different samples."""
    torch.manual_seed(0)
    made = []
    for number in range(models):
        classifier = Classifier.around(build().eval(), build_loss(None, classes=5), classes=5)
        assert classifier.encoder is not None
        fitted = Normalizer.fit(features(20, seed=number, width=width) + number, "shard").tensors()
        classifier.encoder = type(classifier.encoder)(task=classifier.task, fitted=fitted)
        made.append(classifier)
    return made


def features(samples: int, *, seed: int = 9, width: int = 16) -> Features:
    return np.random.default_rng(seed).normal(size=(samples, width)).astype(np.float32)


def alone(classifiers: list[Classifier], rows: Features) -> np.ndarray:
    return np.stack([classifier.probabilities(rows) for classifier in classifiers])


@pytest.mark.parametrize("samples", [1, 7, 32])
def test_models_that_are_evaluated_together_predict_the_bits_of_the_single_ones(samples: int) -> None:
    classifiers = make_classifiers(mlp)
    stacked = StackedModels.of(classifiers, (16,))
    assert stacked is not None
    with torch.no_grad():
        together = stacked.predict(features(samples)).numpy()
    np.testing.assert_allclose(together, alone(classifiers, features(samples)), rtol=0, atol=1e-6)
    if stacked.takes(features(samples)):
        np.testing.assert_array_equal(together, alone(classifiers, features(samples)))


def test_where_a_batched_product_adds_up_in_another_order_the_models_are_called_one_after_another() -> None:
    classifiers = make_classifiers(mlp)
    stacked = StackedModels.of(classifiers, (16,))
    assert stacked is not None
    stacked.mean.add_(1e-6)  # as another order of sums would: the last bits differ
    assert not stacked.takes(features(7))


def test_many_samples_are_not_evaluated_together() -> None:
    stacked = StackedModels.of(make_classifiers(mlp), (16,))
    assert stacked is not None
    assert not stacked.takes(features(MOST_SAMPLES + 1))
    assert not stacked.takes(features(0))


class OwnModel(nn.Sequential):
    """Code of a user's, which may do anything."""


ODD: dict[str, Callable[[], nn.Module]] = {
    "a convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 5)
    ),
    "batch norm": lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 5)),
    "own code": lambda: OwnModel(nn.Flatten(), nn.Linear(16, 5)),
    "a large model": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 50_000), nn.Linear(50_000, 5)),
}


@pytest.mark.parametrize("build", ODD.values(), ids=ODD)
def test_other_models_are_called_one_after_another(build: Callable[[], nn.Module]) -> None:
    classifiers = make_classifiers(build)
    assert StackedModels.of(classifiers, (16,)) is None
    [batch] = Constituents(classifiers, (16,)).batches(features(3))
    np.testing.assert_array_equal(batch, alone(classifiers, features(3)))


def test_a_model_with_a_hook_is_not_stacked() -> None:
    classifiers = make_classifiers(mlp)
    classifiers[1].model.register_forward_hook(lambda _module, _inputs, outputs: outputs + 1)
    assert StackedModels.of(classifiers, (16,)) is None


def test_many_samples_are_predicted_batch_by_batch_in_their_order() -> None:
    classifiers, rows = make_classifiers(mlp), features(2 * PREDICTED_BATCH + 3)
    batches = list(Constituents(classifiers, (16,)).batches(rows))
    assert [batch.shape for batch in batches] == [(3, PREDICTED_BATCH, 5)] * 2 + [(3, 3, 5)]
    np.testing.assert_allclose(np.concatenate(batches, axis=1), alone(classifiers, rows), rtol=0, atol=1e-6)
