"""Does raymu's LiRA rank samples as a published implementation does?

Method: one shard of 8 is trained, and shadow models on random halves of its samples and as many unseen ones. raymu and
sacroml (AI-SDC, MIT licence) score the same confidences. Spearman's rank correlation of the scores should be at least 0.9.
With 64 shadow models each sample has its own variance. With 16 all samples share one: sacroml, like the code of the attack's
authors, computes it over all samples at once, raymu over the models of each sample. sacroml is not a dependency: install it
in a separate environment, and give that environment's Python. It takes two minutes on the letter data.

Conclusion: the attack is the published one.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness import Experiment, add_data_options, document_parser, write_document
from experiments.markdown import count
from experiments.setups import audit_samples
from raymu.core.arrays import Mask
from raymu.core.audit.attacks import ATTACKS
from raymu.core.audit.roc import auc
from raymu.core.audit.signals import Confidences, Signals
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import train_model

COMPARED = ("lira_offline", "lira_online")
MAX_LOG_ODDS = 30.0
"""sacroml computes log odds from probabilities, which cannot represent larger ones."""


def compare(
    samples: AuditSamples, target: Confidences, shadows: Confidences, is_in: Mask, python: str
) -> dict[str, Any]:
    """Score the samples with raymu, and with sacroml in its own environment."""
    signals = Signals(target=target, before=target, shadows=shadows, is_in=is_in, is_population=samples.is_unseen)
    scores = {name: ATTACKS[name](signals) for name in COMPARED}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/signals.npz"
        has_one_variance = np.array(len(shadows) < 64)
        arrays: dict[str, Any] = {"target": target, "shadows": shadows, "is_in": is_in, **scores}
        np.savez(path, has_one_variance=has_one_variance, **arrays)
        script = str(Path(__file__).with_name("lira_sacroml.py"))
        output = subprocess.run([python, script, path], check=True, capture_output=True, text=True, cwd=folder).stdout
    agreement = json.loads(output)
    areas = {name: auc(score[~samples.is_unseen], score[samples.is_unseen]).value for name, score in scores.items()}
    return {
        "shadow_models": len(shadows),
        "sacroml": agreement["version"],
        "spearman": {name: round(value, 4) for name, value in agreement["spearman"].items()},
        "auc": {name: round(value, 4) for name, value in areas.items()},
    }


def summary(result: Mapping[str, Any]) -> str:
    comparisons = result["comparisons"]
    correlations = [value for comparison in comparisons for value in comparison["spearman"].values()]
    return (
        f"Spearman's rank correlation over {count(result['samples'])} samples is at least {min(correlations):.4f} "
        f"(sacroml {comparisons[0]['sacroml']})"
    )


EXPERIMENT = Experiment(name="lira_agreement", doc=__doc__, results=("lira_agreement-letter.json",), summary=summary)


def main() -> None:
    parser = document_parser(EXPERIMENT)
    add_data_options(parser)
    parser.add_argument("--sacroml", required=True, help="the Python of an environment that has sacroml")
    arguments = parser.parse_args()
    samples = audit_samples(arguments.data, arguments.data_folder)
    models = 8 if arguments.smoke else 64
    target = train_model(samples, ModelKind.BEFORE, 0).confidences.clip(max=MAX_LOG_ODDS)
    shadows = np.stack([train_model(samples, ModelKind.SHADOW, number).confidences for number in range(models)])
    is_in = np.stack([samples.members(ModelKind.SHADOW, number) for number in range(models)])
    comparisons = [
        compare(samples, target, shadows[:size].clip(max=MAX_LOG_ODDS), is_in[:size], arguments.sacroml)
        for size in sorted({models, min(16, models)})
    ]
    result = {"data": arguments.data, "samples": len(samples.samples), "comparisons": comparisons}
    write_document(f"{EXPERIMENT.name}-{arguments.data}.json", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
