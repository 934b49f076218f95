"""The forgetting error of one model is a multiple of the floor: the distance of oracles with different seeds."""

from dataclasses import replace

import numpy as np
import pytest

from raymu.core.forgetting_error import RetrainedConfidences

SAMPLES = 40_000


def oracles(count: int = 5, *, spread: float = 0.5) -> RetrainedConfidences:
    random = np.random.default_rng(3)
    means = random.normal(size=SAMPLES)
    margins = means + spread * random.normal(size=(1 + count, SAMPLES))
    return RetrainedConfidences(own_seed=margins[0], other_seeds=margins[1:])


def test_an_oracle_of_another_seed_is_at_the_floor() -> None:
    *others, held_out = oracles(6).other_seeds
    error = replace(oracles(6), other_seeds=np.stack(others)).error_of(held_out)
    assert error.klom == pytest.approx(1.0, abs=0.05)
    assert error.paired == pytest.approx(1.0, abs=0.05)


def test_the_runs_own_oracle_is_one_retraining_among_others() -> None:
    retrained = oracles()
    error = retrained.error_of(retrained.own_seed)
    assert error.klom == pytest.approx(1.0, abs=0.05)
    assert error.paired == 0.0


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_remembering_and_forgetting_too_much_are_both_errors(direction: float) -> None:
    retrained = oracles(spread=0.5)
    shifted = retrained.error_of(retrained.own_seed + direction)
    # The squared distance of two oracles' margins has the mean 0.5, as the floor has; a shift of 1 adds 1 to it... of 0.25.
    assert shifted.klom == pytest.approx(1.0 + 1.0 / (0.25 * (1 + 1 / 4)), rel=0.1)
    assert shifted.paired > 1.0


def test_oracles_that_never_differ_leave_a_floor_of_zero() -> None:
    same = np.zeros((4, 10))
    retrained = RetrainedConfidences(own_seed=same[0], other_seeds=same[1:])
    assert retrained.error_of(same[0]).paired == retrained.error_of(same[0]).klom == 1.0
    assert retrained.error_of(same[0] + 1.0).paired == float("inf")


def test_no_sample_at_all_is_no_error() -> None:
    retrained = RetrainedConfidences(own_seed=np.zeros(0), other_seeds=np.zeros((3, 0)))
    assert retrained.error_of(np.zeros(0)).paired == 1.0


def test_two_oracles_are_too_few() -> None:
    with pytest.raises(ValueError, match="3 oracles or more, not 2"):
        RetrainedConfidences(own_seed=np.zeros(4), other_seeds=np.zeros((2, 4)))
