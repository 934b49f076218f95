import numpy as np
import pytest

from raymu.core.audit.epsilon import epsilon_bound, epsilon_bounds, epsilon_ceiling


@pytest.mark.parametrize(("models", "ceiling"), [(8, 0.535), (16, 1.35), (64, 2.82), (512, 4.93)])
def test_the_ceiling_depends_on_the_number_of_models(models: int, ceiling: float) -> None:
    assert epsilon_ceiling(models, models) == pytest.approx(ceiling, abs=5e-3)
    assert max(epsilon_bound(models - 1, models, 0, models), epsilon_bound(models, models, 1, models)) < ceiling


def test_guessing_gives_a_bound_of_zero() -> None:
    assert epsilon_bound(8, 16, 8, 16) == 0.0
    assert epsilon_bound(0, 16, 16, 16) == 0.0


def test_misses_and_false_alarms_count_alike() -> None:
    assert epsilon_bound(12, 16, 0, 16) == pytest.approx(epsilon_bound(16, 16, 4, 16))


def shadows(models: int, samples: int, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Return confidences that rise by a gap if a model has seen the sample."""
    random = np.random.default_rng(4)
    cuts = random.random((models // 2, samples)) < 0.5
    is_in = np.stack([cuts, ~cuts], axis=1).reshape(models, samples)
    return random.normal(size=(models, samples)) + gap * is_in, is_in


def test_samples_that_are_always_recognised_reach_the_ceiling() -> None:
    ceiling = epsilon_ceiling(16, 16)
    assert (epsilon_bounds(*shadows(32, 200, gap=20.0)) == ceiling).all()
    assert (epsilon_bounds(*shadows(32, 200, gap=-20.0)) == ceiling).all()
    silent = epsilon_bounds(*shadows(32, 2000, gap=0.0))
    assert (silent > 0.0).mean() < 0.05
    assert epsilon_bounds(*shadows(32, 200, gap=2.0)).mean() > 0.1


def test_a_model_has_no_part_in_its_own_threshold() -> None:
    """With its own confidence in the threshold, each model would look like a member."""
    random = np.random.default_rng(1)
    is_in = np.array([[True], [True], [False], [False]])
    bounds = [epsilon_bounds(random.normal(size=(4, 1)), is_in)[0] for _ in range(50)]
    assert max(bounds) == 0.0
