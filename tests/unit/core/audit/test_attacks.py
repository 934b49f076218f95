import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.audit.attacks import ATTACKS, OWN_VARIANCE_FROM, Gaussians
from raymu.core.audit.roc import auc
from raymu.core.audit.signals import Signals
from tests.unit.core.audit.examples import make_signals

SHADOWED = ("lira_offline", "lira_online", "rmia")


@pytest.mark.parametrize("attack", ATTACKS)
def test_members_score_above_others(attack: str) -> None:
    """The samples differ much in hardness, and each is a little more confident if the model has seen it."""
    signals, is_member = make_signals(models=16, gap=1.0)
    scores = ATTACKS[attack](signals)
    sign = -1.0 if attack == "two_generations" else 1.0  # they are the ones that are still known
    area = auc(sign * scores[is_member], sign * scores[~is_member])
    assert area.low > 0.5
    if attack in SHADOWED:
        assert area.value > 0.65


@pytest.mark.parametrize("attack", ATTACKS)
def test_signals_that_are_equal_give_an_area_of_one_half(attack: str) -> None:
    signals, is_member = make_signals(models=16, gap=0.0, samples=10_000)
    scores = ATTACKS[attack](signals)
    assert auc(scores[is_member], scores[~is_member]).value == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("attack", ["lira_offline", "lira_online"])
@given(shift=st.floats(-20.0, 20.0))
def test_lira_is_independent_of_how_hard_a_sample_is(attack: str, shift: float) -> None:
    signals, _ = make_signals(models=6, gap=1.0, samples=40)
    harder = np.linspace(0.0, shift, 40)
    moved = Signals(
        target=signals.target + harder,
        before=signals.before,
        shadows=signals.shadows + harder,
        is_in=signals.is_in,
        is_population=signals.is_population,
    )
    assert ATTACKS[attack](moved) == pytest.approx(ATTACKS[attack](signals), abs=1e-6)


def test_a_likelihood_ratio_is_that_of_two_normal_densities() -> None:
    shadows = np.array([[1.0], [3.0], [-4.0], [-2.0]])
    is_in = np.array([[True], [True], [False], [False]])
    ones = np.ones(1)
    signals = Signals(target=ones, before=ones, shadows=shadows, is_in=is_in, is_population=ones > 0.0)
    # Means 2 and -3, each with variance 2.
    assert ATTACKS["lira_online"](signals)[0] == pytest.approx(-((1.0 - 2.0) ** 2) / 4.0 + (1.0 + 3.0) ** 2 / 4.0)
    assert ATTACKS["lira_offline"](signals)[0] == pytest.approx(4.0 / np.sqrt(2.0))


@pytest.mark.parametrize(("models", "is_shared"), [(OWN_VARIANCE_FROM - 1, True), (OWN_VARIANCE_FROM, False)])
def test_few_models_share_a_variance(models: int, is_shared: bool) -> None:
    random = np.random.default_rng(1)
    shadows = random.normal(size=(models, 2)) * np.array([1.0, 10.0])
    deviation = Gaussians.fit(shadows, np.ones_like(shadows, dtype=bool)).deviation
    assert bool(deviation[0] == deviation[1]) is is_shared
    assert deviation == pytest.approx([7.1, 7.1] if is_shared else [1.0, 10.0], rel=0.25)


def test_models_that_agree_do_not_divide_by_zero() -> None:
    signals, _ = make_signals(models=4, gap=0.0, samples=10)
    same = Signals(
        target=signals.target,
        before=signals.before,
        shadows=np.zeros((4, 10)),
        is_in=signals.is_in,
        is_population=signals.is_population,
    )
    assert all(np.isfinite(attack(same)).all() for attack in ATTACKS.values())


def test_rmia_counts_the_population_that_a_sample_is_twice_as_likely_as() -> None:
    # Shadow models give all samples a probability of a half; the target 0.9, 0.5 and 0.4.
    probabilities = np.array([0.9, 0.5, 0.4])
    target = np.log(probabilities / (1.0 - probabilities))
    is_in = np.array([[True, False, True], [False, True, False]])
    signals = Signals(
        target=target,
        before=target,
        shadows=np.zeros((2, 3)),
        is_in=is_in,
        is_population=np.array([False, True, True]),
    )
    assert ATTACKS["rmia"](signals).tolist() == [0.5, 0.0, 0.0]
