"""What an audit's models make of one shard's pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raymu.config import OhsConfig
from raymu.core.arrays import Mask
from raymu.core.audit.attacks import ATTACKS, Scores
from raymu.core.audit.epsilon import epsilon_bounds
from raymu.core.audit.oracle_comparison import OracleComparison
from raymu.core.audit.signals import Confidences, Signals
from raymu.core.partition import Hashes
from raymu.service.audit.report import PerModel
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import AuditedModel, AuditTask, control_model

TWINS = 3
"""Oracles with seeds of their own: they tell how much exact retrainings differ from each other."""


def audit_tasks(pool: AuditSamples, shadow_models: int) -> list[AuditTask]:
    """The models to train for one shard; `score_models` takes them in this order."""
    kinds = [(ModelKind.BEFORE, 1), (ModelKind.ORACLE, 1 + TWINS), (ModelKind.SHADOW, shadow_models)]
    return [AuditTask(pool=pool, kind=kind, number=number) for kind, count in kinds for number in range(count)]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardModels:
    """twins: (TWINS, samples); shadows, is_in: (models, samples); scores: attack -> (samples,) each
    epsilons: (samples,) lower bounds on what the recipe shows of a sample
    passes, seconds: that its models took, of compute
    """

    pool: AuditSamples
    models: PerModel[AuditedModel]
    before: AuditedModel
    twins: Confidences
    shadows: Confidences
    is_in: Mask
    scores: Mapping[str, PerModel[Scores]]
    epsilons: Scores
    passes: float
    seconds: float

    @property
    def is_oracle(self) -> bool:
        return self.models.served.weights_sha256 == self.models.oracle.weights_sha256

    def trial(self, confidences: Confidences, forgotten: Hashes) -> OracleComparison:
        """A model on some of the forgotten samples, and on those that nobody saw."""
        is_forgotten = self.pool.samples.isin(forgotten)
        kept = is_forgotten | self.pool.is_unseen
        return OracleComparison(
            model=confidences[kept],
            oracles=self.twins[:, kept],
            shadows=self.shadows[:, kept],
            is_in=self.is_in[:, kept],
            is_forgotten=is_forgotten[kept],
        )


def score_models(
    pool: AuditSamples, served: AuditedModel, trained: Sequence[AuditedModel], ohs: OhsConfig
) -> ShardModels:
    """trained: the models of `audit_tasks`, in their order"""
    before, oracle, *others = trained
    models = PerModel(served=served, oracle=oracle, control=control_model(pool, before, ohs))
    confidences = np.stack([model.confidences for model in others])
    shadows = confidences[TWINS:]
    is_in = np.stack([pool.members(ModelKind.SHADOW, number) for number in range(len(shadows))])

    def signals(model: AuditedModel) -> Signals:
        return Signals(
            target=model.confidences,
            before=before.confidences,
            shadows=shadows,
            is_in=is_in,
            is_population=pool.is_unseen,
        )

    return ShardModels(
        pool=pool,
        models=models,
        before=before,
        twins=confidences[:TWINS],
        shadows=shadows,
        is_in=is_in,
        scores={name: models.map(signals).map(attack) for name, attack in ATTACKS.items()},
        epsilons=epsilon_bounds(shadows, is_in),
        passes=sum(model.passes for model in (*trained, models.control)),
        seconds=sum(model.seconds for model in (*trained, models.control)),
    )
