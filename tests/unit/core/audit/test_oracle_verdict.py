from dataclasses import replace

import pytest

from raymu.core.audit.forgetting import Forgetting, OracleDistance
from raymu.core.audit.klom import Klom
from raymu.core.audit.oracle_comparison import AuditVerdict, Comparison, oracle_verdict, with_remedy, with_retraining
from raymu.core.audit.roc import Estimate
from raymu.core.records import Cost
from raymu.core.verdict import Verdict

ALIKE = Comparison(
    samples=20,
    difference=Estimate(value=0.1, low=-0.4, high=0.6),
    remembered=0.8,
    over_forgotten=0.5,
    level=0.05,
)
REMEMBERS = replace(ALIKE, difference=Estimate(value=1.1, low=0.6, high=1.6))
OVER_FORGETS = replace(ALIKE, difference=Estimate(value=-1.1, low=-1.6, high=-0.6))
HOLDS_ONE = replace(ALIKE, remembered=0.01)
LOST_ONE = replace(ALIKE, over_forgotten=0.01)


@pytest.mark.parametrize(
    ("served", "control", "verdict", "words"),
    [
        (ALIKE, REMEMBERS, Verdict.PASS, "cannot be distinguished"),
        (ALIKE, HOLDS_ONE, Verdict.PASS, "cannot be distinguished"),
        (ALIKE, ALIKE, Verdict.INCONCLUSIVE, "too few data"),
        (ALIKE, OVER_FORGETS, Verdict.INCONCLUSIVE, "too few data"),
        (REMEMBERS, REMEMBERS, Verdict.FAIL, "remembers"),
        (HOLDS_ONE, REMEMBERS, Verdict.FAIL, "remembers"),
        (OVER_FORGETS, REMEMBERS, Verdict.FAIL, "over-forgets"),
        (LOST_ONE, REMEMBERS, Verdict.FAIL, "over-forgets"),
        (OVER_FORGETS, ALIKE, Verdict.FAIL, "over-forgets"),
        (replace(OVER_FORGETS, remembered=0.001), REMEMBERS, Verdict.FAIL, "remembers and over-forgets"),
    ],
)
def test_a_verdict_depends_on_both_sides_and_on_the_control(
    served: Comparison, control: Comparison, verdict: Verdict, words: str
) -> None:
    conclusion = oracle_verdict(served, control, is_oracle=False)
    assert conclusion.verdict is verdict
    assert words in conclusion.reason


def test_the_oracle_itself_passes_with_any_amount_of_data() -> None:
    conclusion = oracle_verdict(ALIKE, ALIKE, is_oracle=True)
    assert conclusion.verdict is Verdict.PASS
    assert "bit for bit" in conclusion.reason


PASSED = AuditVerdict(verdict=Verdict.PASS, reason="cannot be distinguished")


def measured(klom: float, lira: tuple[float, float, float] = (0.5, 0.4, 0.6)) -> Forgetting:
    """Return figures of eight models with a mean KLoM, and U-LiRA's accuracy with its interval."""
    distance = OracleDistance(klom=Klom(mean=3.0, p95=5.0), gaussian_klom=Klom(mean=klom, p95=3.0 * klom), paired=0.01)
    value, low, high = lira
    return Forgetting(
        models=8,
        forget=distance,
        retained=distance,
        test=distance,
        lira=Estimate(value=value, low=low, high=high),
        relearning_steps=None,
        accuracy=0.9,
        cost=Cost(passes=10.0, seconds=0.1),
    )


@pytest.mark.parametrize(
    ("klom", "lira", "served", "verdict"),
    [
        (0.18, (0.52, 0.45, 0.6), Verdict.PASS, Verdict.PASS),
        (2.0, (0.52, 0.45, 0.6), Verdict.PASS, Verdict.PASS),  # few samples put retraining as far
        (0.26, (0.6, 0.52, 0.7), Verdict.PASS, Verdict.INCONCLUSIVE),
        (0.4, (0.6, 0.52, 0.7), Verdict.PASS, Verdict.FAIL),
        (0.18, (0.52, 0.45, 0.6), Verdict.FAIL, Verdict.FAIL),
        (0.18, (0.52, 0.45, 0.6), Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
        (0.26, (0.6, 0.52, 0.7), Verdict.FAIL, Verdict.FAIL),
        (0.4, (0.6, 0.52, 0.7), Verdict.INCONCLUSIVE, Verdict.FAIL),
    ],
)
def test_a_repeated_remedy_never_makes_the_verdict_better(
    klom: float, lira: tuple[float, float, float], served: Verdict, verdict: Verdict
) -> None:
    conclusion = with_remedy(
        AuditVerdict(verdict=served, reason="as it is"),
        remedy=measured(klom, lira),
        untouched=measured(0.5),
        floor=measured(0.2),
    )
    assert conclusion.verdict is verdict
    is_distinguished = lira[1] > 0.5
    assert conclusion.reason.startswith(
        "the remedy can be told from retraining: " if is_distinguished else "as it is; the remedy: "
    )
    assert "as it is" in conclusion.reason


@pytest.mark.parametrize(
    ("floor", "verdict"),
    [(0.55, Verdict.FAIL), (0.68, Verdict.FAIL), (0.69, Verdict.INCONCLUSIVE), (0.75, Verdict.INCONCLUSIVE)],
)
def test_an_attack_that_tells_retrained_models_from_each_other_convicts_no_remedy(
    floor: float, verdict: Verdict
) -> None:
    conclusion = with_remedy(
        PASSED,
        remedy=measured(2.5, (0.84, 0.69, 1.0)),
        untouched=measured(0.6),
        floor=measured(1.5, (floor, floor - 0.15, floor + 0.15)),
    )
    assert conclusion.verdict is verdict
    assert ("too few data" in conclusion.reason) == (verdict is Verdict.INCONCLUSIVE)
    assert conclusion.reason.startswith("cannot be distinguished") == (verdict is Verdict.INCONCLUSIVE)


def test_the_reason_says_how_far_the_remedy_ended_beside_untouched_models() -> None:
    conclusion = with_remedy(PASSED, remedy=measured(0.18), untouched=measured(0.5), floor=measured(0.2))
    assert "0.9 times the floor away from retraining (untouched: 2.5 times)" in conclusion.reason
    assert "U-LiRA told 50% right (40% to 60%; 50% is a guess)" in conclusion.reason
    assert "exact" not in conclusion.reason
    assert "inf" not in with_remedy(PASSED, remedy=measured(0.1), untouched=measured(0.1), floor=measured(0.0)).reason


def test_a_retraining_that_cannot_be_repeated_is_no_pass() -> None:
    exact = oracle_verdict(ALIKE, ALIKE, is_oracle=True)
    assert with_retraining(exact, is_equal=True).verdict is Verdict.PASS
    assert "oracle's bits again" in with_retraining(exact, is_equal=True).reason
    assert with_retraining(exact, is_equal=False).verdict is Verdict.INCONCLUSIVE
    failed = oracle_verdict(REMEMBERS, REMEMBERS, is_oracle=False)
    assert with_retraining(failed, is_equal=False).verdict is Verdict.FAIL
