"""How often does an audit fail an exact retraining, and how many samples does it need to find a model that forgot nothing?

Method: 100 samples are revoked from one shard of 8, and the shard is retrained without them with many seeds. Each of these
models is exact. Each is compared with three of the others, on random parts of the revoked samples, and so is the model that
saw all of them. The level is 5%. The results are shares of 200 comparisons for each size. They are accurate to a few
percent, since the comparisons share the models. It takes two minutes on the letter data.

Conclusion: an audit of one sample finds little, and says so. How many samples an audit needs depends on how much a model
remembers of each: a handful is enough on the letter data, and on images fifty find most models that forgot nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.harness import Experiment, add_data_options, document_parser, write_document
from experiments.setups import audit_samples
from raymu.core.arrays import Mask
from raymu.core.audit.oracle_comparison import Comparison, OracleComparison, compare_with_oracles
from raymu.core.audit.signals import Confidences
from raymu.service.audit.audit import LEVEL
from raymu.service.audit.shard_models import TWINS
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import train_model

SIZES = (1, 5, 10, 20, 50)
REVOKED = 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Models:
    """The confidences of all models on the audited samples."""

    samples: AuditSamples
    exact: Confidences
    """(seeds, samples)"""
    before: Confidences
    """(samples,): the model that saw all samples"""
    shadows: Confidences
    """(shadow models, samples)"""
    is_in: Mask
    """(shadow models, samples): whether a model was trained on a sample"""

    @classmethod
    def train(cls, samples: AuditSamples, *, seeds: int, shadow_models: int) -> "Models":
        exact = [train_model(samples, ModelKind.ORACLE, number).confidences for number in range(1, 1 + seeds)]
        shadows = [train_model(samples, ModelKind.SHADOW, number).confidences for number in range(shadow_models)]
        return cls(
            samples=samples,
            exact=np.stack(exact),
            before=train_model(samples, ModelKind.BEFORE, 0).confidences,
            shadows=np.stack(shadows),
            is_in=np.stack([samples.members(ModelKind.SHADOW, number) for number in range(shadow_models)]),
        )

    def compare(self, model: Confidences, oracles: Confidences, is_forgotten: Mask, *, seed: int) -> Comparison:
        """Compare a model with oracles on some of the forgotten samples and on all unseen ones."""
        is_compared = is_forgotten | self.samples.is_unseen
        comparison = OracleComparison(
            model=model[is_compared],
            oracles=oracles[:, is_compared],
            shadows=self.shadows[:, is_compared],
            is_in=self.is_in[:, is_compared],
            is_forgotten=is_forgotten[is_compared],
        )
        return compare_with_oracles([comparison], level=LEVEL, seed=seed)


def failure_rates(models: Models, size: int, repeats: int) -> dict[str, float]:
    """Return the shares of failed comparisons on forget sets of one size."""
    random = np.random.default_rng(size)
    failures = []
    for repeat in range(repeats):
        audited, *oracles = random.permutation(len(models.exact))[: 1 + TWINS]
        is_forgotten = np.zeros(len(models.samples.samples), dtype=bool)
        is_forgotten[random.choice(np.flatnonzero(models.samples.is_forgotten), size, replace=False)] = True
        exact, before = (
            models.compare(model, models.exact[oracles], is_forgotten, seed=repeat)
            for model in (models.exact[audited], models.before)
        )
        failures.append([exact.remembers, exact.over_forgets, before.remembers])
    shares = np.mean(failures, axis=0).round(3).tolist()
    return dict(zip(("exact_remembers", "exact_over_forgets", "forgot_nothing_found"), shares, strict=True))


def summary(*results: Mapping[str, Any]) -> str:
    cells = []
    for result in results:
        sizes = result["forget_sets"]
        alarms = [size[name] for size in sizes for name in ("exact_remembers", "exact_over_forgets")]
        shares = ", ".join(
            f"{size['forgot_nothing_found']:.0%} of audits of {size['samples']} samples" for size in sizes[1:]
        )
        cells.append(
            f"{result['data']}: a model that forgot nothing fails {shares}, an exact retraining at most {max(alarms):.1%}"
        )
    return "; ".join(cells)


EXPERIMENT = Experiment(
    name="audit_power",
    doc=__doc__,
    results=("audit_power-letter.json", "audit_power-fashion-mnist.json"),
    summary=summary,
)


def main() -> None:
    parser = document_parser(EXPERIMENT)
    add_data_options(parser)
    arguments = parser.parse_args()
    seeds, shadow_models, repeats = (5, 4, 10) if arguments.smoke else (24, 16, 200)
    samples = audit_samples(arguments.data, arguments.data_folder, revoked=REVOKED)
    models = Models.train(samples, seeds=seeds, shadow_models=shadow_models)
    result = {
        "data": arguments.data,
        "level": LEVEL,
        "exact_models": seeds,
        "shadow_models": shadow_models,
        "forget_sets": [{"samples": size, **failure_rates(models, size, repeats)} for size in SIZES],
    }
    write_document(f"{EXPERIMENT.name}-{arguments.data}.json", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
