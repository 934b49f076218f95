"""Parts of an audit's JSON."""

import json
from typing import Any

from raymu.core.audit.forgetting import FloorRatio, Forgetting, OracleDistance
from raymu.core.audit.klom import Klom
from raymu.core.audit.roc import Estimate
from raymu.core.records import Cost, Remedy
from raymu.service.audit.report import ROW_NAMES, RemedyAudit, RemedyRow
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
