"""How often does an audit fail an exact retraining, and from how many samples on does it find a model that forgot nothing?

Method: 100 samples are revoked from one shard of 8. The shard is retrained without them with many seeds: each such model is
exact, and in its turn held against three others, on random parts of the revoked samples; so is the model that saw them all.
The level is 5%. Shares of 200 comparisons for each size; their error is a few percent, since they share the models.
Two minutes on the letter data.
"""

from dataclasses import dataclass

import numpy as np
from documents import keep, parser, shard_pool

from raymu.core.audit.oracle_comparison import Comparison, OracleComparison, compare_with_oracles
from raymu.core.audit.signals import Confidences, Mask
from raymu.service.audit.audit import LEVEL
from raymu.service.audit.shard_models import TWINS
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import train_model

SIZES = (1, 5, 10, 20, 50)
REVOKED = 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Models:
    """Confidences on the pool. exact: (seeds, samples); before: (samples,); shadows, is_in: (models, samples)"""

    pool: AuditSamples
    exact: Confidences
    before: Confidences
    shadows: Confidences
    is_in: Mask

    @classmethod
    def trained(cls, pool: AuditSamples, *, seeds: int, shadow_models: int) -> "Models":
        exact = [train_model(pool, ModelKind.ORACLE, number).confidences for number in range(1, 1 + seeds)]
        shadows = [train_model(pool, ModelKind.SHADOW, number).confidences for number in range(shadow_models)]
        return cls(
            pool=pool,
            exact=np.stack(exact),
            before=train_model(pool, ModelKind.BEFORE, 0).confidences,
            shadows=np.stack(shadows),
            is_in=np.stack([pool.members(ModelKind.SHADOW, number) for number in range(shadow_models)]),
        )

    def compare(self, model: Confidences, oracles: Confidences, is_forgotten: Mask, *, seed: int) -> Comparison:
        kept = is_forgotten | self.pool.is_unseen
        trial = OracleComparison(
            model=model[kept],
            oracles=oracles[:, kept],
            shadows=self.shadows[:, kept],
            is_in=self.is_in[:, kept],
            is_forgotten=is_forgotten[kept],
        )
        return compare_with_oracles([trial], level=LEVEL, seed=seed)


def judged(models: Models, size: int, repeats: int) -> dict[str, float]:
    """Shares of the comparisons with forget sets of one size."""
    random = np.random.default_rng(size)
    found = []
    for repeat in range(repeats):
        tried, *oracles = random.permutation(len(models.exact))[: 1 + TWINS]
        is_forgotten = np.zeros(len(models.pool.samples), dtype=bool)
        is_forgotten[random.choice(np.flatnonzero(models.pool.is_forgotten), size, replace=False)] = True
        exact, before = (
            models.compare(model, models.exact[oracles], is_forgotten, seed=repeat)
            for model in (models.exact[tried], models.before)
        )
        found.append([exact.remembers, exact.over_forgets, before.remembers])
    shares = np.mean(found, axis=0).round(3).tolist()
    return dict(zip(("exact_remembers", "exact_over_forgets", "forgot_nothing_found"), shares, strict=True))


def main() -> None:
    options = parser(__doc__).parse_args()
    seeds, shadow_models, repeats = (5, 4, 10) if options.smoke else (24, 16, 200)
    models = Models.trained(shard_pool(options.train, revoked=REVOKED), seeds=seeds, shadow_models=shadow_models)
    sizes = [{"samples": size, **judged(models, size, repeats)} for size in SIZES]
    keep(
        "audit-power",
        options.train,
        {"level": LEVEL, "exact_models": seeds, "shadow_models": shadow_models, "forget_sets": sizes},
    )


if __name__ == "__main__":
    main()
