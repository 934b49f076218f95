"""Parts of an audit's JSON."""

import json
from dataclasses import replace
from typing import Any

from raymu.core.audit.attacks import ATTACKS
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
    WorstSample,
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


def _remedy() -> RemedyAudit:
    return RemedyAudit(
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


def audit_tree() -> dict[str, Any]:
    """The parts of an audit's JSON that the figure reads."""
    tree = {"verdict": "fail", "together": {"verdict": "pass", "reason": "it forgets", "remedy": to_tree(_remedy())}}
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


def audit_of_many(requests: int) -> AuditReport:
    """Return an audit of some requests, of which the second fails and the third is inconclusive."""
    verdicts = {1: Verdict.FAIL, 2: Verdict.INCONCLUSIVE}
    parts = tuple(
        _request(f"20261201T231219-{number:012x}", verdicts.get(number, Verdict.PASS)) for number in range(requests)
    )
    together = replace(
        _request("all", Verdict.PASS),
        request_ids=tuple(part.request_ids[0] for part in parts),
        remedy=_remedy(),
    )
    accuracy = PerModel(served=0.8571, oracle=0.8571, control=1.0)
    return AuditReport(
        generation=11,
        verdict=Verdict.FAIL,
        shadow_models=16,
        oracles=3,
        accuracy=AccuracyAudit(retain=accuracy, forget=accuracy, test=None),
        together=together,
        requests=parts if requests > 1 else (together,),
        shards=tuple(
            ShardAudit(shard=shard, is_oracle=False, relearning=PerModel(served=3, oracle=4, control=None))
            for shard in range(8)
        ),
        exposure=together.attacks,
        passes=123456.0,
        seconds=12.5,
        repetitions=8,
    )


def _request(request_id: str, verdict: Verdict) -> RequestAudit:
    def estimates(served: float) -> PerModel[Estimate]:
        return PerModel(
            served=Estimate(value=served, low=served - 0.2, high=served + 0.1),
            oracle=Estimate(value=0.89, low=0.7, high=0.97),
            control=Estimate(value=0.5, low=0.3, high=0.7),
        )

    comparison = Comparison(
        samples=4,
        difference=Estimate(value=0.01, low=-0.03, high=0.05),
        remembered=0.4,
        over_forgotten=0.6,
        level=0.05,
    )
    worst = WorstSample(
        keyed_hash="ab" * 32,
        shard=1,
        likelihood=PerModel(served=0.1, oracle=0.1, control=1.0),
        loss=PerModel(served=1.0, oracle=1.1, control=0.2),
        epsilon=0.5,
    )
    return RequestAudit(
        request_ids=(request_id,),
        samples=4,
        shards=(0, 1),
        verdict=verdict,
        reason={
            Verdict.PASS: "the served model cannot be told from retrained ones, and the control can",
            Verdict.FAIL: "the served model knows the samples better than retrained ones",
            Verdict.INCONCLUSIVE: "neither the served model nor the control can be told from retrained ones: too few data",
        }[verdict],
        loss=PerModel(served=0.448, oracle=0.448, control=0.62),
        comparison=PerModel(served=comparison, oracle=comparison, control=comparison),
        attacks=tuple(
            AttackAudit(
                attack=name,
                auc=estimates(0.82 if name == "two_generations" else 0.52),
                tpr_at_1_percent=None,
                tpr_at_0_1_percent=None,
            )
            for name in ATTACKS
        ),
        epsilon=EpsilonAudit(median=0.1, highest=0.5, ceiling=2.0),
        worst=(worst,) * 5,
    )
