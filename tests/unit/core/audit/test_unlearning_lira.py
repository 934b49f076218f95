"""U-LiRA tells models that remember from retrained ones, and retrained ones from each other by chance only."""

import numpy as np
import pytest

from raymu.core.audit.signals import Confidences
from raymu.core.audit.unlearning_lira import unlearning_lira


def make_models(random: np.random.Generator, models: int, samples: int, *, shift: float = 0.0) -> Confidences:
    """Make margins of models. Samples differ in difficulty, and those of one model depend on each other."""
    hardness = np.linspace(-2.0, 3.0, samples)
    loadings = np.cos(np.arange(samples) * np.arange(1, 5)[:, None])
    shared = random.normal(size=(models, 4)) @ loadings / 2.0
    return hardness + shift + shared + random.normal(size=(models, samples)) / 2.0


@pytest.mark.parametrize(("models", "samples"), [(6, 20), (8, 100), (32, 4), (32, 100)])
def test_oracles_of_other_seeds_are_distinguished_by_chance_only(models: int, samples: int) -> None:
    """The interval of the floor contains 0.5 at its nominal rate, however much the samples of a model depend."""
    random = np.random.default_rng(3)
    estimates = [
        unlearning_lira(*(make_models(random, models, samples) for _ in range(2)), seed=trial) for trial in range(60)
    ]
    assert np.mean([estimate.low <= 0.5 <= estimate.high for estimate in estimates]) >= 0.9
    assert np.mean([estimate.value for estimate in estimates]) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_models_that_remember_or_over_forget_are_found(shift: float) -> None:
    random = np.random.default_rng(4)
    estimate = unlearning_lira(make_models(random, 8, 50, shift=shift), make_models(random, 8, 50), seed=0)
    assert 0.5 < estimate.low < estimate.value < estimate.high


def test_one_odd_model_is_not_recognised_by_its_own_confidences() -> None:
    """A model has no part in its own fit: identical kinds are guessed by chance, not better."""
    margins = make_models(np.random.default_rng(5), 6, 30)
    estimate = unlearning_lira(margins, margins.copy(), seed=0)
    assert estimate.value == pytest.approx(0.5)


def test_kinds_of_unequal_numbers_or_too_few_models_are_refused() -> None:
    margins = make_models(np.random.default_rng(6), 4, 3)
    with pytest.raises(ValueError, match="three or more"):
        unlearning_lira(margins, margins[:3], seed=0)
    with pytest.raises(ValueError, match="three or more"):
        unlearning_lira(margins[:2], margins[:2], seed=0)
