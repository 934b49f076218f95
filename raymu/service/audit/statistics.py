"""The figures of an audit: those of a request, of a shard and of the ensemble."""

from collections.abc import Sequence

import numpy as np

from raymu.core.arrays import Mask, Targets
from raymu.core.audit.attacks import ATTACKS, Scores
from raymu.core.audit.epsilon import epsilon_ceiling
from raymu.core.audit.oracle_comparison import (
    AuditVerdict,
    Comparison,
    compare_with_oracles,
    oracle_verdict,
    with_remedy,
    with_retraining,
)
from raymu.core.audit.roc import Estimate, auc, has_enough_for_tpr, tpr_at
from raymu.core.audit.signals import losses
from raymu.core.partition import derive_seed
from raymu.data.rows import Rows, joined_rows
from raymu.data.stored_rows import read_rows
from raymu.data.tables import FeatureTable
from raymu.service.audit.forget_set import ForgottenSamples
from raymu.service.audit.forgetting import audit_remedy
from raymu.service.audit.report import (
    AccuracyAudit,
    AttackAudit,
    EpsilonAudit,
    PerModel,
    RemedyAudit,
    RequestAudit,
    Role,
    ShardAudit,
    WorstSample,
)
from raymu.service.audit.shard_models import ShardModels
from raymu.service.prediction import Ensemble
from raymu.training.audit.relearn_time import relearning_steps

WORST = 5
"""Number of forgotten samples that are listed."""


def audit_request(
    shards: Sequence[ShardModels], forgotten: ForgottenSamples, *, request_ids: tuple[str, ...], level: float
) -> RequestAudit:
    """Audit the forget set of one request, or of several together.

    Args:
        shards: All audited shards.
        forgotten: The forget set.
        request_ids: The requests.
        level: Probability that an exact retraining fails.
    """
    touched = [shard for shard in shards if shard.audit_samples.shard in forgotten.shards]
    masks = [shard.audit_samples.samples.isin(forgotten.hashes) for shard in touched]
    seed = derive_seed(touched[0].audit_samples.spec.seed, "audit", *request_ids)

    def compare(role: Role) -> Comparison:
        comparisons = [shard.oracle_comparison(role, forgotten.hashes) for shard in touched]
        return compare_with_oracles(comparisons, level=level, seed=seed)

    def mean_loss(role: Role) -> float:
        confidences = [shard.models.of(role).confidences[mask] for shard, mask in zip(touched, masks, strict=True)]
        return float(losses(np.concatenate(confidences)).mean())

    comparison = PerModel.each(compare)
    is_oracle = all(shard.is_oracle for shard in touched)
    remedy = audit_remedy(shards, forgotten)
    verdict = _with_repetitions(oracle_verdict(comparison.served, comparison.control, is_oracle=is_oracle), remedy)
    epsilons = np.concatenate([shard.epsilons[mask] for shard, mask in zip(touched, masks, strict=True)])
    half = len(touched[0].shadows) // 2
    return RequestAudit(
        request_ids=request_ids,
        samples=len(forgotten.hashes),
        shards=tuple(shard.audit_samples.shard for shard in touched),
        verdict=verdict.verdict,
        reason=verdict.reason,
        loss=PerModel.each(mean_loss),
        comparison=comparison,
        attacks=tuple(audit_attack(name, touched, masks) for name in ATTACKS),
        epsilon=EpsilonAudit(
            median=float(np.median(epsilons)), highest=float(epsilons.max()), ceiling=epsilon_ceiling(half, half)
        ),
        worst=_worst_samples(touched, masks, forgotten),
        remedy=remedy,
    )


def _with_repetitions(served: AuditVerdict, remedy: RemedyAudit | None) -> AuditVerdict:
    """Add what the repetitions say to the verdict on the served models."""
    if remedy is None:
        return served
    if remedy.is_exact is not None:
        return with_retraining(served, is_equal=remedy.is_exact)
    return with_remedy(
        served,
        remedy=remedy.row("remedy").forgetting,
        untouched=remedy.row("untouched").forgetting,
        floor=remedy.row("other_seed").forgetting,
    )


def audit_attack(attack: str, shards: Sequence[ShardModels], masks: Sequence[Mask]) -> AttackAudit:
    """Measure how well an attack separates the masked samples from unseen ones, over all these shards."""

    def scores(role: Role) -> tuple[Scores, Scores]:
        scored = [(shard.scores[attack].of(role), shard, mask) for shard, mask in zip(shards, masks, strict=True)]
        members = np.concatenate([score[mask] for score, _, mask in scored])
        return members, np.concatenate([score[shard.audit_samples.is_unseen] for score, shard, _ in scored])

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


def retained_baseline(shards: Sequence[ShardModels]) -> tuple[AttackAudit, ...]:
    """Measure the attacks on retained samples, which every model was trained on: the most that they can find."""
    masks = [shard.audit_samples.is_retained for shard in shards]
    return tuple(audit_attack(name, shards, masks) for name in ATTACKS if name != "two_generations")


def audit_shard(shard: ShardModels) -> ShardAudit:
    """Measure how fast the models of a shard relearn the forget set."""
    samples = shard.audit_samples
    target = float(losses(shard.before.confidences[samples.is_forgotten]).mean())
    return ShardAudit(
        shard=samples.shard,
        is_oracle=shard.is_oracle,
        relearning=shard.models.map(lambda model: relearning_steps(samples, model.payload, target=target)),
    )


def audit_accuracy(ensemble: Ensemble, shards: Sequence[ShardModels], test: FeatureTable | None) -> AccuracyAudit:
    """Measure the accuracy of the served ensemble, and of the ensembles with the oracles and with the controls."""

    def ensemble_of(role: Role) -> Ensemble:
        return ensemble.replacing({shard.audit_samples.shard: shard.models.of(role).payload for shard in shards})

    def accuracy_on(parts: Sequence[tuple[Rows, Targets]]) -> PerModel[float]:
        features = joined_rows([part[0] for part in parts])
        labels = np.concatenate([part[1] for part in parts])
        return ensembles.map(lambda voters: voters.evaluate(features, labels).accuracy)

    ensembles = PerModel.each(ensemble_of)
    audited = [shard.audit_samples for shard in shards]
    retain = [samples.samples.where(samples.is_retained) for samples in audited]
    forget = [samples.samples.where(samples.is_forgotten) for samples in audited]
    return AccuracyAudit(
        retain=accuracy_on([(read_rows(part.features), part.labels) for part in retain]),
        forget=accuracy_on([(read_rows(part.features), part.labels) for part in forget]),
        test=None if test is None or test.labels is None else accuracy_on([(test.features, test.labels)]),
    )


def _worst_samples(
    shards: Sequence[ShardModels], masks: Sequence[Mask], forgotten: ForgottenSamples
) -> tuple[WorstSample, ...]:
    """Return the forgotten samples with the highest LiRA scores."""
    scored = [
        (float(shard.scores["lira_online"].served[index]), shard, int(index))
        for shard, mask in zip(shards, masks, strict=True)
        for index in np.flatnonzero(mask)
    ]
    scored.sort(key=lambda sample: -sample[0])
    return tuple(_worst_sample(shard, index, forgotten) for _, shard, index in scored[:WORST])


def _worst_sample(shard: ShardModels, index: int, forgotten: ForgottenSamples) -> WorstSample:
    """Describe the audit sample of a shard at an index."""
    [forgotten_index] = np.flatnonzero(forgotten.hashes == shard.audit_samples.samples.hashes[index])
    return WorstSample(
        keyed_hash=str(forgotten.pseudonyms[forgotten_index]),
        shard=shard.audit_samples.shard,
        likelihood=shard.scores["lira_online"].map(lambda scores: float(scores[index])),
        loss=shard.models.map(lambda model: float(losses(model.confidences[index]))),
        epsilon=float(shard.epsilons[index]),
    )
