"""Does raymu's LiRA rank samples as a published implementation does?

Method: one shard of 8 is trained, and shadow models on halves of it and as many samples that it never saw. Both
implementations, raymu's and that of sacroml (AI-SDC, MIT), score the same confidences; Spearman's rank correlation of the
scores is to be at least 0.9. With 64 shadow models each sample has a variance of its own; with 16 all share one, which
sacroml, like the code of the attack's authors, takes over all samples at once, and raymu over the models of each.
sacroml is no dependency: install it into an environment of its own, and name its Python. Two minutes on the letter data.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from documents import keep, parser, shard_pool

from raymu.core.audit.attacks import ATTACKS
from raymu.core.audit.roc import auc
from raymu.core.audit.signals import Confidences, Mask, Signals
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import train_model

COMPARED = ("lira_offline", "lira_online")
MOST_CONFIDENT = 30.0
"""Log odds: the published code takes them from probabilities, and has none beyond what these can hold."""


def compare(pool: AuditSamples, target: Confidences, shadows: Confidences, is_in: Mask, python: str) -> dict[str, Any]:
    signals = Signals(target=target, before=target, shadows=shadows, is_in=is_in, is_population=pool.is_unseen)
    scores = {name: ATTACKS[name](signals) for name in COMPARED}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/signals.npz"
        has_one_variance = np.array(len(shadows) < 64)
        arrays: dict[str, Any] = {"target": target, "shadows": shadows, "is_in": is_in, **scores}
        np.savez(path, has_one_variance=has_one_variance, **arrays)
        script = str(Path(__file__).with_name("lira_published.py"))
        answer = subprocess.run([python, script, path], check=True, capture_output=True, text=True, cwd=folder)
    found = json.loads(answer.stdout)
    areas = {name: auc(some[~pool.is_unseen], some[pool.is_unseen]).value for name, some in scores.items()}
    return {
        "shadow_models": len(shadows),
        "sacroml": found["version"],
        "spearman": {name: round(value, 4) for name, value in found["spearman"].items()},
        "auc": {name: round(value, 4) for name, value in areas.items()},
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sacroml", required=True, help="the Python of an environment that has sacroml")
    chosen = options.parse_args()
    pool = shard_pool(chosen.train)
    models = 8 if chosen.smoke else 64
    target = train_model(pool, ModelKind.BEFORE, 0).confidences.clip(max=MOST_CONFIDENT)
    shadows = np.stack([train_model(pool, ModelKind.SHADOW, number).confidences for number in range(models)])
    is_in = np.stack([pool.members(ModelKind.SHADOW, number) for number in range(models)])
    results = [
        compare(pool, target, shadows[:count].clip(max=MOST_CONFIDENT), is_in[:count], chosen.sacroml)
        for count in sorted({models, min(16, models)})
    ]
    keep("lira-agreement", chosen.train, {"samples": len(pool.samples), "comparisons": results})


if __name__ == "__main__":
    main()
