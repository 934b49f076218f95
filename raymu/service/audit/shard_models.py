"""The models of one audited shard, and their scores on its samples."""

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
from raymu.service.audit.report import PerModel, Role
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import AuditedModel, AuditTask, control_model

TWINS = 3
"""Oracles with seeds of their own. They show how much exact retrainings differ from each other."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardModels:
    """The models of a shard, and their predictions for its audit samples."""

    audit_samples: AuditSamples
    models: PerModel[AuditedModel]
    before: AuditedModel
    """The model that saw the forgotten samples."""
    twins: Confidences
    """(TWINS, samples): confidences of oracles with other seeds"""
    shadows: Confidences
    """(shadow models, samples)"""
    is_in: Mask
    """(shadow models, samples): whether a shadow model was trained on a sample"""
    scores: Mapping[str, PerModel[Scores]]
    """Attack -> (samples,) scores of each model"""
    epsilons: Scores
    """(samples,) lower bounds on what the training recipe reveals of a sample"""
    passes: float
    """Sample passes of all models."""
    seconds: float
    """Compute seconds of all models."""

    @property
    def is_oracle(self) -> bool:
        """Whether the served model equals the oracle bit for bit."""
        return self.models.served.weights_sha256 == self.models.oracle.weights_sha256

    def oracle_comparison(self, role: Role, forgotten: Hashes) -> OracleComparison:
        """Compare a model with the oracles on some of the forgotten samples and on all unseen ones."""
        is_forgotten = self.audit_samples.samples.isin(forgotten)
        is_compared = is_forgotten | self.audit_samples.is_unseen
        return OracleComparison(
            model=self.models.of(role).confidences[is_compared],
            oracles=self.twins[:, is_compared],
            shadows=self.shadows[:, is_compared],
            is_in=self.is_in[:, is_compared],
            is_forgotten=is_forgotten[is_compared],
        )


def audit_tasks(audit_samples: AuditSamples, shadow_models: int) -> list[AuditTask]:
    """Return the models to train for one shard, in the order that `score_models` expects."""
    kinds = [(ModelKind.BEFORE, 1), (ModelKind.ORACLE, 1 + TWINS), (ModelKind.SHADOW, shadow_models)]
    return [
        AuditTask(samples=audit_samples, kind=kind, number=number) for kind, count in kinds for number in range(count)
    ]


def score_models(
    audit_samples: AuditSamples, served: AuditedModel, trained: Sequence[AuditedModel], ohs: OhsConfig
) -> ShardModels:
    """Score the served model, the oracle and the control with every attack.

    Args:
        audit_samples: The shard's samples.
        served: The model that the run serves.
        trained: The models of `audit_tasks`, in order.
        ohs: How the control is fine-tuned.
    """
    before, oracle, *others = trained
    models = PerModel(served=served, oracle=oracle, control=control_model(audit_samples, before, ohs))
    confidences = np.stack([model.confidences for model in others])
    shadows = confidences[TWINS:]
    is_in = np.stack([audit_samples.members(ModelKind.SHADOW, number) for number in range(len(shadows))])

    def signals(model: AuditedModel) -> Signals:
        return Signals(
            target=model.confidences,
            before=before.confidences,
            shadows=shadows,
            is_in=is_in,
            is_population=audit_samples.is_unseen,
        )

    return ShardModels(
        audit_samples=audit_samples,
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
