"""The record of a remedy says how far its models are from retrained ones, as multiples of the floor."""

import numpy as np
import pytest

from raymu.core.audit.forgetting import Forgetting, ModelConfidences, forgetting_of
from raymu.core.audit.klom import Klom, gaussian_klom, klom
from raymu.core.audit.signals import probabilities
from raymu.core.records import Cost

MODELS = 8


def make_models(seed: int, *, shift: float = 0.0) -> ModelConfidences:
    """Make models whose margins on the forget set are shifted."""
    random = np.random.default_rng(seed)
    return ModelConfidences(
        forget=random.normal(size=(MODELS, 30)) + shift,
        retained=random.normal(size=(MODELS, 20)) + 2.0,
        test=random.normal(size=(MODELS, 40)),
    )


PAIRED, OTHERS = make_models(1), make_models(2)


def measured(models: ModelConfidences, paired: ModelConfidences = PAIRED) -> Forgetting:
    cost = Cost(passes=3.0, seconds=0.5)
    return forgetting_of(models, paired=paired, oracles=OTHERS, accuracy=0.9, cost=cost, seed=0)


FLOOR = measured(PAIRED, OTHERS)


def test_an_exact_remedy_is_at_no_distance_from_its_own_oracle_and_at_the_floor_from_others() -> None:
    exact = measured(PAIRED)
    assert (exact.forget.paired, exact.retained.paired, exact.test.paired) == (0.0, 0.0, 0.0)
    assert exact.over_floor(FLOOR).klom == exact.over_floor(FLOOR).gaussian_klom == 1.0
    assert exact.lira == FLOOR.lira
    assert exact.lira.low < 0.5 < exact.lira.high


def test_each_kind_of_samples_is_measured_by_itself() -> None:
    models = make_models(1, shift=1.5)
    record = measured(models)
    difference = np.abs(probabilities(PAIRED.forget + 1.5) - probabilities(PAIRED.forget)).mean()
    assert record.forget.paired == pytest.approx(difference)
    assert record.forget.klom == Klom.over(klom(models.forget, OTHERS.forget))
    assert record.forget.gaussian_klom == Klom.over(gaussian_klom(models.forget, OTHERS.forget))
    assert record.test.klom == FLOOR.test.klom
    assert record.retained.paired == 0.0
    assert record.lira.low > 0.5
    assert record.over_floor(FLOOR).gaussian_klom > 1.0
    assert record.over_floor(FLOOR).paired == pytest.approx(difference / FLOOR.forget.paired)
    assert (record.models, record.relearning_steps, record.accuracy, record.cost.seconds) == (MODELS, None, 0.9, 0.5)


def test_a_floor_of_zero_is_reached_only_by_equal_models() -> None:
    still = measured(OTHERS, OTHERS)
    assert measured(OTHERS, OTHERS).over_floor(still).paired == 1.0
    assert measured(PAIRED, OTHERS).over_floor(still).paired == np.inf


def test_two_models_are_too_few() -> None:
    few = np.zeros((2, 3))
    with pytest.raises(ValueError, match="three or more models"):
        ModelConfidences(forget=few, retained=few, test=few)
