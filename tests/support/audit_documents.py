"""Parts of an audit's JSON."""

import json
from typing import Any

from raymu.core.audit.forgetting import FloorRatio, Forgetting, OracleDistance
from raymu.core.audit.klom import Klom
from raymu.core.audit.oracle_comparison import Comparison
from raymu.core.audit.roc import Estimate
from raymu.core.records import Cost, Remedy
from raymu.core.verdict import Verdict
from raymu.service.audit.report import (
    ROW_NAMES,
    AccuracyAudit,
    AttackAudit,
    AuditReport,
    EpsilonAudit,
    PerModel,
    RemedyAudit,
    RemedyRow,
    RequestAudit,
    ShardAudit,
)
from raymu.store.codec import to_tree

KLOM = {"remedy": 0.18, "untouched": 0.5, "control": 0.4, "other_seed": 0.2, "exact": 0.2}


def forgetting(klom: float) -> Forgetting:
    distance = OracleDistance(klom=Klom(mean=6.0, p95=9.0), gaussian_klom=Klom(mean=klom, p95=3.0 * klom), paired=0.02)
    return Forgetting(
        models=8,
        forget=distance,
        retained=distance,
        test=distance,
        lira=Estimate(value=0.52, low=0.44, high=0.6),
        relearning_steps=12.5,
        accuracy=0.86,
        cost=Cost(passes=170.0, seconds=0.05),
    )


def audit_tree() -> dict[str, Any]:
    """The parts of an audit's JSON that the figure reads."""
    remedy = RemedyAudit(
        repetitions=8,
        samples=20,
        remedies=(Remedy.FINE_TUNE,),
        rows=tuple(
            RemedyRow(
                name=name,
                forgetting=forgetting(KLOM[name]),
                over_floor=FloorRatio(klom=1.0, gaussian_klom=KLOM[name] / 0.2, paired=1.0),
            )
            for name in ROW_NAMES
        ),
        failed_patches=0,
        is_exact=None,
    )
    tree = {"verdict": "fail", "together": {"verdict": "pass", "reason": "it forgets", "remedy": to_tree(remedy)}}
    read: dict[str, Any] = json.loads(json.dumps(tree))
    return read


def audit_report(*, generation: int, request_ids: tuple[str, ...], verdict: Verdict = Verdict.FAIL) -> AuditReport:
    """A whole audit, with figures that nobody measured."""
    estimate = Estimate(value=0.5, low=0.25, high=0.75)
    comparison = Comparison(samples=2, difference=estimate, remembered=0.5, over_forgotten=0.5, level=0.05)
    attack = AttackAudit(
        attack="lira", auc=PerModel.each(lambda _role: estimate), tpr_at_1_percent=None, tpr_at_0_1_percent=None
    )
    losses = PerModel.each(lambda _role: 1 / 3)
    together = RequestAudit(
        request_ids=request_ids,
        samples=2,
        shards=(0,),
        verdict=verdict,
        reason="the served model remembers",
        loss=losses,
        comparison=PerModel.each(lambda _role: comparison),
        attacks=(attack,),
        epsilon=EpsilonAudit(median=0.1, highest=float("inf"), ceiling=2.0),
        worst=(),
    )
    return AuditReport(
        generation=generation,
        verdict=verdict,
        shadow_models=4,
        oracles=8,
        accuracy=AccuracyAudit(retain=losses, forget=losses, test=None),
        together=together,
        requests=(together,),
        shards=(ShardAudit(shard=0, is_oracle=False, relearning=PerModel.each(lambda _role: None)),),
        exposure=(attack,),
        passes=1e6,
        seconds=0.1,
    )
