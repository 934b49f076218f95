from dataclasses import replace

import pytest

from raymu.core.audit.oracle_comparison import Comparison, oracle_verdict
from raymu.core.audit.roc import Estimate
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
