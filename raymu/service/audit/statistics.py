"""The figures of an audit: of a request, of a shard, and of the ensemble."""

from collections.abc import Sequence

import numpy as np

from raymu.core.arrays import Features, Labels, Mask
from raymu.core.audit.attacks import ATTACKS, Scores
from raymu.core.audit.epsilon import epsilon_ceiling
from raymu.core.audit.oracle_comparison import Comparison, compare_with_oracles, oracle_verdict
from raymu.core.audit.roc import Estimate, auc, has_enough_for_tpr, tpr_at
from raymu.core.audit.signals import losses
from raymu.core.partition import derive_seed
from raymu.data.tables import FeatureTable
from raymu.service.audit.forget_set import ForgottenSamples
from raymu.service.audit.report import (
    AccuracyAudit,
    AttackAudit,
    EpsilonAudit,
    PerModel,
    RequestAudit,
    Role,
    ShardAudit,
    WorstSample,
)
from raymu.service.audit.shard_models import ShardModels
from raymu.service.prediction import Ensemble
from raymu.training.audit.relearn_time import relearning_steps

WORST = 5
"""How many samples of a forget set are listed."""


def audit_request(
    evidences: Sequence[ShardModels], forgotten: ForgottenSamples, *, request_ids: tuple[str, ...], level: float
) -> RequestAudit:
    """evidences: of all audited shards; forgotten: the request's samples; level: of its comparison with the oracles"""
    parts = [one for one in evidences if one.pool.shard in forgotten.shards]
    masks = [one.pool.samples.isin(forgotten.hashes) for one in parts]
    seed = derive_seed(parts[0].pool.spec.seed, "audit", *request_ids)

    def compare(role: Role) -> Comparison:
        trials = [one.trial(one.models.of(role).confidences, forgotten.hashes) for one in parts]
        return compare_with_oracles(trials, level=level, seed=seed)

    def mean_loss(role: Role) -> float:
        pairs = zip(parts, masks, strict=True)
        return float(losses(np.concatenate([one.models.of(role).confidences[mask] for one, mask in pairs])).mean())

    comparison = PerModel.each(compare)
    judgement = oracle_verdict(comparison.served, comparison.control, is_oracle=all(one.is_oracle for one in parts))
    epsilons = np.concatenate([one.epsilons[mask] for one, mask in zip(parts, masks, strict=True)])
    half = len(parts[0].shadows) // 2
    return RequestAudit(
        request_ids=request_ids,
        samples=len(forgotten.rows),
        shards=tuple(one.pool.shard for one in parts),
        verdict=judgement.verdict,
        reason=judgement.reason,
        loss=PerModel.each(mean_loss),
        comparison=comparison,
        attacks=tuple(audit_attack(name, parts, masks) for name in ATTACKS),
        epsilon=EpsilonAudit(
            median=float(np.median(epsilons)), highest=float(epsilons.max()), ceiling=epsilon_ceiling(half, half)
        ),
        worst=_worst(parts, masks, forgotten),
    )


def audit_attack(attack: str, evidences: Sequence[ShardModels], masks: Sequence[Mask]) -> AttackAudit:
    """How an attack tells the masks' samples from unseen ones, over all these shards."""

    def scores(role: Role) -> tuple[Scores, Scores]:
        pairs = [(one.scores[attack].of(role), one, mask) for one, mask in zip(evidences, masks, strict=True)]
        members = np.concatenate([score[mask] for score, _, mask in pairs])
        return members, np.concatenate([score[one.pool.is_unseen] for score, one, _ in pairs])

    def rates(fpr: float) -> PerModel[Estimate] | None:
        if not has_enough_for_tpr(fpr, len(both.served[1])):
            return None
        return both.map(lambda pair: tpr_at(fpr, *pair))

    both = PerModel.each(scores)
    return AttackAudit(
        attack=attack,
        auc=both.map(lambda pair: auc(*pair)),
        tpr_at_1_percent=rates(0.01),
        tpr_at_0_1_percent=rates(0.001),
    )


def retained_baseline(evidences: Sequence[ShardModels]) -> tuple[AttackAudit, ...]:
    """What attacks find on retained samples, which every model was trained on: what they could find at all."""
    masks = [one.pool.is_retained for one in evidences]
    return tuple(audit_attack(name, evidences, masks) for name in ATTACKS if name != "two_generations")


def audit_shard(evidence: ShardModels) -> ShardAudit:
    pool = evidence.pool
    aim = float(losses(evidence.before.confidences[pool.is_forgotten]).mean())
    return ShardAudit(
        shard=pool.shard,
        is_oracle=evidence.is_oracle,
        relearning=evidence.models.map(lambda model: relearning_steps(pool, model.payload, target=aim)),
    )


def audit_accuracy(ensemble: Ensemble, evidences: Sequence[ShardModels], test: FeatureTable | None) -> AccuracyAudit:
    """ensemble: what is served"""

    def ensemble_of(role: Role) -> Ensemble:
        return ensemble.replacing({one.pool.shard: one.models.of(role).payload for one in evidences})

    def accuracy_on(parts: Sequence[tuple[Features, Labels]]) -> PerModel[float]:
        features, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        return ensembles.map(lambda one: float((one.predict(features).argmax(axis=1) == labels).mean()))

    ensembles = PerModel.each(ensemble_of)
    pools = [one.pool for one in evidences]
    retain = [pool.samples.where(pool.is_retained) for pool in pools]
    forget = [pool.samples.where(pool.is_forgotten) for pool in pools]
    return AccuracyAudit(
        retain=accuracy_on([(part.features, part.labels) for part in retain]),
        forget=accuracy_on([(part.features, part.labels) for part in forget]),
        test=None if test is None or test.labels is None else accuracy_on([(test.features, test.labels)]),
    )


def _worst(parts: Sequence[ShardModels], masks: Sequence[Mask], forgotten: ForgottenSamples) -> tuple[WorstSample, ...]:
    """The forgotten samples whose confidence speaks most for having been seen."""
    found = [
        (float(one.scores["lira_online"].served[position]), one, int(position))
        for one, mask in zip(parts, masks, strict=True)
        for position in np.flatnonzero(mask)
    ]
    found.sort(key=lambda scored: -scored[0])
    return tuple(_worst_sample(one, position, forgotten) for _, one, position in found[:WORST])


def _worst_sample(evidence: ShardModels, position: int, forgotten: ForgottenSamples) -> WorstSample:
    """position: in the shard's pool"""
    [place] = np.flatnonzero(forgotten.hashes == evidence.pool.samples.hashes[position])
    return WorstSample(
        row=int(forgotten.rows[place]),
        pseudonym=str(forgotten.names[place]),
        shard=evidence.pool.shard,
        likelihood=evidence.scores["lira_online"].map(lambda scores: float(scores[position])),
        loss=evidence.models.map(lambda model: float(losses(model.confidences[position]))),
        epsilon=float(evidence.epsilons[position]),
    )
