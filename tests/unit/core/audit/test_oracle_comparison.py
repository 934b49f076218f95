"""A model that is equivalent to a retrained oracle passes at about the nominal rate; any other fails."""

import numpy as np
import pytest

from raymu.core.audit import oracle_comparison as comparison
from raymu.core.audit.oracle_comparison import Comparison, OracleComparison, compare_with_oracles

UNSEEN, MODELS, GAP = 400, 16, 2.0


def make_trial(
    random: np.random.Generator, *, forgotten: int, shift: float = 0.0, left_in: int = 0, gap: float = GAP
) -> OracleComparison:
    """Make a trial: `shift` is added to forgotten samples' confidences, `left_in` of them are as confident as trained."""
    count = forgotten + UNSEEN
    hardness = random.normal(size=count) * 3.0
    is_forgotten = np.arange(count) < forgotten
    cuts = random.random((MODELS // 2, count)) < 0.5
    is_in = np.stack([cuts, ~cuts], axis=1).reshape(MODELS, count)
    extra = np.where(is_forgotten, shift, 0.0) + np.where(np.arange(count) < left_in, gap, 0.0)
    return OracleComparison(
        model=hardness + extra + random.normal(size=count),
        oracles=hardness + random.normal(size=(3, count)),
        shadows=hardness + gap * is_in + random.normal(size=(MODELS, count)),
        is_in=is_in,
        is_forgotten=is_forgotten,
    )


def compared(*trials: OracleComparison, level: float = 0.05) -> Comparison:
    return compare_with_oracles(trials, level=level, seed=1)


@pytest.mark.parametrize("forgotten", [1, 5, 50])
def test_an_exact_retraining_is_rarely_rejected(forgotten: int) -> None:
    random = np.random.default_rng(0)
    comparisons = [compared(make_trial(random, forgotten=forgotten), level=0.2) for _ in range(150)]
    assert np.mean([comparison.remembers or comparison.over_forgets for comparison in comparisons]) < 0.25


@pytest.mark.parametrize(("shift", "remembers", "over_forgets"), [(GAP, True, False), (-GAP, False, True)])
def test_remembering_and_over_forgetting_are_detected(shift: float, remembers: bool, over_forgets: bool) -> None:
    comparison = compared(make_trial(np.random.default_rng(1), forgotten=10, shift=shift))
    assert (comparison.remembers, comparison.over_forgets) == (remembers, over_forgets)
    assert comparison.difference.low < comparison.difference.value < comparison.difference.high
    assert np.sign(comparison.difference.value) == np.sign(shift)


def test_one_remembered_sample_is_detected_that_does_not_move_the_mean() -> None:
    comparison = compared(make_trial(np.random.default_rng(3), forgotten=15, left_in=1, gap=8.0))
    assert comparison.remembers
    assert comparison.remembered < 0.0125
    whole = compared(make_trial(np.random.default_rng(3), forgotten=15, gap=8.0))
    assert not whole.remembers


def test_many_shards_show_an_effect_that_single_shards_do_not() -> None:
    random = np.random.default_rng(5)
    trials = [make_trial(random, forgotten=2, shift=1.2) for _ in range(12)]
    assert sum(compared(trial).remembers for trial in trials) < 6
    together = compared(*trials)
    assert together.remembers
    assert together.samples == 24


def faults_of_exact_retrainings() -> float:
    """Return how often the interval of an exact retraining misses 0, for a forget set of hard samples among easy ones."""
    random = np.random.default_rng(7)

    def noisy(count: int) -> np.ndarray:
        return hardness + np.where(hardness < 3.0, 2.0, 0.2) * random.normal(size=(count, len(hardness)))

    faults = []
    for _ in range(150):
        hardness = np.concatenate([np.zeros(6), random.uniform(-3.0, 9.0, UNSEEN)])
        trial = OracleComparison(
            model=noisy(1)[0],
            oracles=noisy(3),
            shadows=noisy(2),
            is_in=np.stack([hardness < 0.0, hardness >= 0.0]),
            is_forgotten=np.arange(len(hardness)) < 6,
        )
        difference = compared(trial, level=0.2).difference
        faults.append(not difference.low <= 0.0 <= difference.high)
    return float(np.mean(faults))


def test_hard_samples_are_compared_with_hard_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hard samples differ more among exact retrainings."""
    assert faults_of_exact_retrainings() < 0.16
    monkeypatch.setattr(comparison, "NEIGHBOURS", 10_000)
    assert faults_of_exact_retrainings() > 0.22


def test_a_comparison_can_be_repeated() -> None:
    trial = make_trial(np.random.default_rng(0), forgotten=5)
    assert compared(trial) == compared(trial)


def test_a_single_oracle_is_refused() -> None:
    trial = make_trial(np.random.default_rng(0), forgotten=2)
    with pytest.raises(ValueError, match="two retrained oracles"):
        OracleComparison(
            model=trial.model,
            oracles=trial.oracles[:1],
            shadows=trial.shadows,
            is_in=trial.is_in,
            is_forgotten=trial.is_forgotten,
        )
