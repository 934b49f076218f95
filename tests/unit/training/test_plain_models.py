"""Many samples of plain models: which are called without what surrounds a layer, and that the bits are the same."""

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
from raymu.training.plain_models import PlainModels

PLAIN: dict[str, Callable[[], nn.Module]] = {
    "an MLP": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 5)),
    "a convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 5)
    ),
    "batch norm": lambda: nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 5)),
    "ReLU first": lambda: nn.Sequential(nn.ReLU(), nn.Linear(16, 5, bias=False), nn.ReLU()),
}


def make_classifiers(build: Callable[[], nn.Module], *, dtype: type = np.float32) -> list[Classifier]:
    """Return classifiers with normalizers of their own, fitted to different samples."""
    torch.manual_seed(0)
    made = []
    for number in range(3):
        classifier = Classifier.around(build().eval(), build_loss(None, classes=5), classes=5)
        assert classifier.encoder is not None
        fitted = Normalizer.fit(features(20, seed=number).astype(dtype) + number, "shard").tensors()
        classifier.encoder = type(classifier.encoder)(task=classifier.task, fitted=fitted)
        made.append(classifier)
    return made


def features(samples: int, *, seed: int = 9) -> Features:
    return (np.random.default_rng(seed).normal(size=(samples, 16)) * 5).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("build", PLAIN.values(), ids=PLAIN)
def test_many_samples_have_the_bits_of_the_models_that_are_called(build: Callable[[], nn.Module], dtype: type) -> None:
    classifiers, rows = make_classifiers(build, dtype=dtype), features(2 * PREDICTED_BATCH + 300)
    before = rows.copy()
    predictions = np.concatenate(list(Constituents(classifiers, (16,)).batches(rows)), axis=1)
    with torch.no_grad():
        for number, classifier in enumerate(classifiers):
            for start in range(0, len(rows), PREDICTED_BATCH):
                part = slice(start, start + PREDICTED_BATCH)
                alone = classifier.predictions(classifier.prepare(rows[part]).all()).numpy()
                np.testing.assert_array_equal(predictions[number, part], alone)
    np.testing.assert_array_equal(rows, before)
    is_plain = PlainModels.of(classifiers) is not None
    assert is_plain == all(type(layer) is not nn.Unflatten for layer in classifiers[0].model.children())


@pytest.mark.parametrize("rows", [features(700), features(700).astype(np.float64), np.ones((700, 16), np.uint8)])
def test_samples_of_any_type_are_taken(rows: Features) -> None:
    classifiers = make_classifiers(PLAIN["an MLP"])
    plain = PlainModels.of(classifiers)
    assert plain is not None
    with torch.no_grad():
        assert plain.takes(rows)
        predictions = plain.predict(rows, {}).numpy()
    for number, classifier in enumerate(classifiers):
        np.testing.assert_array_equal(predictions[number], classifier.probabilities(rows))


def test_models_whose_bits_would_differ_are_called() -> None:
    classifiers = make_classifiers(PLAIN["an MLP"])
    plain = PlainModels.of(classifiers)
    assert plain is not None
    other = PlainModels(classifiers=classifiers, layers=[plain.layers[1]] * 3)
    assert not other.takes(features(300))


class OwnModel(nn.Sequential):
    """Code of a user's, which may do anything."""


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(16, 5))
    model[0].register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("build", [lambda: OwnModel(nn.Linear(16, 5)), hooked])
def test_models_that_may_do_anything_are_called(build: Callable[[], nn.Module]) -> None:
    assert PlainModels.of(make_classifiers(build)) is None
