import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from raymu.core.audit.signals import Signals, losses, probabilities, shadow_members

hashes = arrays.arrays(np.uint64, st.integers(2, 50), unique=True)
seeds = st.integers(0, 2**63 - 1)


@given(hashes=hashes, seed=seeds, pair=st.integers(0, 9))
def test_a_sample_is_in_for_one_model_of_each_pair(hashes: np.ndarray, seed: int, pair: int) -> None:
    first, second = (shadow_members(hashes, 2 * pair + number, seed=seed) for number in (0, 1))
    np.testing.assert_array_equal(first, ~second)


@given(hashes=hashes, seed=seeds, model=st.integers(0, 9), data=st.data())
def test_leaving_a_sample_out_changes_no_other_home(
    hashes: np.ndarray, seed: int, model: int, data: st.DataObject
) -> None:
    kept = np.arange(len(hashes)) != data.draw(st.integers(0, len(hashes) - 1))
    np.testing.assert_array_equal(
        shadow_members(hashes, model, seed=seed)[kept], shadow_members(hashes[kept], model, seed=seed)
    )


def test_shadow_models_of_different_pairs_have_independent_halves() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 4000, dtype=np.uint64)
    members = np.array([shadow_members(hashes, model, seed=5) for model in range(0, 12, 2)])
    assert members.mean(axis=1) == pytest.approx(np.full(6, 0.5), abs=0.05)
    assert np.corrcoef(members) == pytest.approx(np.eye(6), abs=0.08)
    assert (members[0] != shadow_members(hashes, 0, seed=6)).any()


def test_a_confidence_has_the_loss_of_its_probability() -> None:
    chances = np.array([0.01, 0.5, 0.99])
    assert losses(np.log(chances / (1.0 - chances))) == pytest.approx(-np.log(chances))
    assert probabilities(np.log(chances / (1.0 - chances))) == pytest.approx(chances)
    extremes = np.array([800.0, -800.0])
    assert (losses(extremes).tolist(), probabilities(extremes).tolist()) == ([0.0, 800.0], [1.0, 0.0])


def test_signals_that_do_not_fit_are_refused() -> None:
    target, is_in = np.zeros(3), np.array([[True, False, True], [False, True, False]])
    shadows, unseen = np.zeros((2, 3)), np.ones(3, dtype=bool)
    Signals(target=target, before=target, shadows=shadows, is_in=is_in, is_population=unseen)
    with pytest.raises(ValueError, match="differ"):
        Signals(target=target, before=target, shadows=shadows[:, :2], is_in=is_in, is_population=unseen)
    with pytest.raises(ValueError, match="needs shadow models"):
        Signals(target=target, before=target, shadows=shadows, is_in=is_in | True, is_population=unseen)
