import numpy as np

from raymu.core.arrays import Labels, Probabilities
from raymu.core.oracle_gap import PredictionSummary


def answers(forget: list[list[float]], test: list[list[float]] | None = None) -> PredictionSummary:
    """Return predictions for forgotten samples with label 0, and for two test samples with labels 0 and 1."""
    return PredictionSummary.of(
        test=_rows(test or [[0.9, 0.1], [0.2, 0.8]]),
        test_labels=np.array([0, 1]),
        forget=_rows(forget),
        forget_labels=_zeros(len(forget)),
    )


def _rows(values: list[list[float]]) -> Probabilities:
    return np.array(values, dtype=np.float32)


def _zeros(count: int) -> Labels:
    return np.zeros(count, dtype=np.int64)


def test_a_model_is_at_no_distance_from_itself() -> None:
    same = answers([[0.5, 0.5], [0.25, 0.75]])
    distance = same.distance(same)
    assert (distance.equal_answers, distance.probability, distance.under, distance.over) == (1.0, 0.0, 0.0, 0.0)


def test_too_little_and_too_much_forgetting_do_not_cancel_out() -> None:
    oracle = answers([[0.5, 0.5], [0.5, 0.5]])
    distance = answers([[1.0, 0.0], [0.25, 0.75]]).distance(oracle)
    assert np.isclose(distance.under, np.log(2.0) / 2)
    assert np.isclose(distance.over, np.log(2.0) / 2)
    assert np.isclose(distance.probability, (0.5 + 0.25) / 2)


def test_equal_answers_are_counted_on_the_test_set() -> None:
    oracle = answers([[0.5, 0.5]])
    assert answers([[0.5, 0.5]], test=[[0.4, 0.6], [0.3, 0.7]]).distance(oracle).equal_answers == 0.5


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    model = answers([[0.0, 1.0]])
    assert model.forget_accuracy == 0.0
    assert np.isfinite(model.forget_loss)
