"""What an audit says of a request."""

from dataclasses import dataclass

from raymu.core.membership.comparison import Comparison
from raymu.core.verdict import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """PASS: not to be told from a retrained model; FAIL: it can be told; INCONCLUSIVE: too little data to say."""

    verdict: Verdict
    reason: str


def judge(served: Comparison, control: Comparison, *, is_oracle: bool) -> Judgement:
    """Hold what is served against retrained oracles; over-forgetting fails as remembering does.

    control: the same comparison of a model that forgot nothing. Where even that passes, a pass would say nothing.
    is_oracle: whether what is served is, bit for bit, the retrained oracle
    """
    if is_oracle:
        return Judgement(verdict=Verdict.PASS, reason="bit for bit the retrained oracle")
    faults = [
        what for what, is_found in (("remembers", served.remembers), ("over-forgets", served.over_forgets)) if is_found
    ]
    if faults:
        return Judgement(
            verdict=Verdict.FAIL, reason=f"{' and '.join(faults)}: retrained oracles do not differ as much"
        )
    if not control.remembers:
        return Judgement(
            verdict=Verdict.INCONCLUSIVE,
            reason="too little data to say: a model that forgot nothing is not told from retrained oracles either",
        )
    return Judgement(
        verdict=Verdict.PASS, reason="not to be told from retrained oracles, and a model that forgot nothing is"
    )
