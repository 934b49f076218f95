from dataclasses import replace

import pytest

from raymu.core.audit.oracle_comparison import Comparison, oracle_verdict
from raymu.core.audit.roc import Estimate
from raymu.core.verdict import Verdict

UNTOLD = Comparison(
    samples=20,
    difference=Estimate(value=0.1, low=-0.4, high=0.6),
    remembered=0.8,
    over_forgotten=0.5,
    level=0.05,
)
REMEMBERS = replace(UNTOLD, difference=Estimate(value=1.1, low=0.6, high=1.6))
OVER_FORGETS = replace(UNTOLD, difference=Estimate(value=-1.1, low=-1.6, high=-0.6))
HOLDS_ONE = replace(UNTOLD, remembered=0.01)
LOST_ONE = replace(UNTOLD, over_forgotten=0.01)


@pytest.mark.parametrize(
    ("served", "control", "verdict", "words"),
    [
        (UNTOLD, REMEMBERS, Verdict.PASS, "cannot be told"),
        (UNTOLD, HOLDS_ONE, Verdict.PASS, "cannot be told"),
        (UNTOLD, UNTOLD, Verdict.INCONCLUSIVE, "too few data"),
        (UNTOLD, OVER_FORGETS, Verdict.INCONCLUSIVE, "too few data"),
        (REMEMBERS, REMEMBERS, Verdict.FAIL, "remembers"),
        (HOLDS_ONE, REMEMBERS, Verdict.FAIL, "remembers"),
        (OVER_FORGETS, REMEMBERS, Verdict.FAIL, "over-forgets"),
        (LOST_ONE, REMEMBERS, Verdict.FAIL, "over-forgets"),
        (OVER_FORGETS, UNTOLD, Verdict.FAIL, "over-forgets"),
        (replace(OVER_FORGETS, remembered=0.001), REMEMBERS, Verdict.FAIL, "remembers and over-forgets"),
    ],
)
def test_a_verdict_depends_on_both_sides_and_on_the_control(
    served: Comparison, control: Comparison, verdict: Verdict, words: str
) -> None:
    judgement = oracle_verdict(served, control, is_oracle=False)
    assert judgement.verdict is verdict
    assert words in judgement.reason


def test_the_oracle_itself_passes_with_any_amount_of_data() -> None:
    judgement = oracle_verdict(UNTOLD, UNTOLD, is_oracle=True)
    assert judgement.verdict is Verdict.PASS
    assert "bit for bit" in judgement.reason
