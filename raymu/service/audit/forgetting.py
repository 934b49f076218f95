"""The figures of a repeated remedy: those of its models, beside models that nothing was done to and retrained ones."""

from collections.abc import Sequence

import numpy as np

from raymu.core.arrays import Mask
from raymu.core.audit.forgetting import FloorRatio, Forgetting, ModelConfidences, forgetting_of
from raymu.core.audit.signals import losses
from raymu.core.partition import derive_seed
from raymu.core.records import Cost, Remedy
from raymu.service.audit.forget_set import ForgottenSamples
from raymu.service.audit.report import ROW_NAMES, RemedyAudit, RemedyRow, RowName
from raymu.service.audit.shard_models import Repetitions, ShardModels
from raymu.training.audit.relearn_time import MAX_STEPS, relearning_steps

RELEARNED = 4
"""Repetitions, the first ones, whose relearning is measured."""
_ROUNDING = 1e-6
"""Added to a mean loss in nats, since it is computed once in float64 and once in float32."""


def audit_remedy(shards: Sequence[ShardModels], forgotten: ForgottenSamples) -> RemedyAudit | None:
    """Measure the remedy of some forgotten samples over all repetitions.

    A retrained sample is at the floor by construction, and would hide what patches left of others. So only those that are
    patched are measured, if there are any.

    Args:
        shards: All audited shards.
        forgotten: The forgotten samples.

    Returns:
        None if nothing was repeated.
    """
    measured = forgotten.patched() if forgotten.is_patched.any() else forgotten
    touched = [shard for shard in shards if shard.audit_samples.shard in measured.shards]
    repetitions = [shard.repetitions for shard in touched if shard.repetitions]
    if not repetitions:
        return None
    masks = [shard.audit_samples.samples.isin(measured.hashes) for shard in touched]
    seed = derive_seed(touched[0].audit_samples.spec.seed, "remedy", *sorted({*measured.request_ids.tolist()}))
    steps = _relearning(touched) if all(map(_is_whole, touched, masks)) else {}

    def measure(name: RowName, paired: RowName) -> Forgetting:
        return forgetting_of(
            _confidences(name, touched, repetitions, masks),
            paired=_confidences(paired, touched, repetitions, masks),
            oracles=_confidences("other_seed", touched, repetitions, masks),
            accuracy=_accuracy(name, touched, repetitions),
            cost=_cost(name, repetitions),
            relearning_steps=steps.get(name),
            seed=seed,
        )

    # The oracles of the repetitions' own seeds, beside those of other seeds: as far apart as exact retrainings are.
    floor = measure("exact", "other_seed")
    figures = {name: floor if name == "other_seed" else measure(name, "exact") for name in ROW_NAMES}
    return RemedyAudit(
        repetitions=floor.models,
        samples=len(measured.hashes),
        remedies=_remedies(measured),
        rows=tuple(
            RemedyRow(name=name, forgetting=forgetting, over_floor=_over_floor(forgetting, floor))
            for name, forgetting in figures.items()
        ),
        failed_patches=sum(model.failed_patches for each in repetitions for model in each.remedied),
        is_exact=_is_exact(repetitions),
    )


def _confidences(
    name: RowName, shards: Sequence[ShardModels], repetitions: Sequence[Repetitions], masks: Sequence[Mask]
) -> ModelConfidences:
    """Return the confidences of a row's models, the samples of all shards side by side."""
    by_shard = [np.stack([model.confidences for model in each.of(name)]) for each in repetitions]

    def of(kinds: Sequence[Mask]) -> np.ndarray:
        return np.concatenate([confidences[:, mask] for confidences, mask in zip(by_shard, kinds, strict=True)], axis=1)

    return ModelConfidences(
        forget=of(masks),
        retained=of([shard.audit_samples.is_retained for shard in shards]),
        test=of([shard.audit_samples.is_unseen for shard in shards]),
    )


def _accuracy(name: RowName, shards: Sequence[ShardModels], repetitions: Sequence[Repetitions]) -> float:
    """Return the share of unseen samples that a row's models get right."""
    hits = [
        model.is_correct[shard.audit_samples.is_unseen]
        for shard, each in zip(shards, repetitions, strict=True)
        for model in each.of(name)
    ]
    return float(np.concatenate(hits).mean())


def _cost(name: RowName, repetitions: Sequence[Repetitions]) -> Cost:
    """Add up the costs of the shards."""
    costs = [each.cost(name) for each in repetitions]
    return Cost(passes=sum(cost.passes for cost in costs), seconds=sum(cost.seconds for cost in costs))


def _is_exact(repetitions: Sequence[Repetitions]) -> bool | None:
    """Whether all shards are retrained, and give their oracles; None if one is patched."""
    equal = [each.is_equal for each in repetitions]
    return None if None in equal else all(equal)


def _is_whole(shard: ShardModels, mask: Mask) -> bool:
    """Whether these are all forgotten samples of a shard."""
    return bool((mask == shard.audit_samples.is_forgotten).all())


def _relearning(shards: Sequence[ShardModels]) -> dict[RowName, float]:
    """Count the steps in which models relearn the forget set, up to the loss of the model before; mean by row.

    A model that does not get there counts as MAX_STEPS.
    """
    steps: dict[RowName, list[int]] = {name: [] for name in ROW_NAMES}
    for shard in shards:
        samples, repetitions = shard.audit_samples, shard.repetitions
        assert repetitions is not None, "only repeated remedies are measured"
        for number, before in enumerate(repetitions.before[:RELEARNED]):
            target = float(losses(before.confidences[samples.is_forgotten]).mean()) + _ROUNDING
            by_weights: dict[str, int] = {}
            for name in ROW_NAMES:
                model = repetitions.of(name)[number]
                if model.weights_sha256 not in by_weights:
                    count = relearning_steps(samples, model.payload, target=target)
                    by_weights[model.weights_sha256] = MAX_STEPS if count is None else count
                steps[name].append(by_weights[model.weights_sha256])
    return {name: sum(counts) / len(counts) for name, counts in steps.items()}


def _remedies(measured: ForgottenSamples) -> tuple[Remedy, ...]:
    """Name what was done for these samples."""
    if not measured.is_patched.any():
        return (Remedy.RETRAIN,)
    homes = {*zip(measured.request_ids.tolist(), measured.shards.tolist(), strict=True)}
    parts = ((receipt.request_id, part) for receipt in measured.receipts for part in receipt.shards)
    return tuple(sorted({part.remedy for request_id, part in parts if (request_id, part.shard) in homes}))


def _over_floor(forgetting: Forgetting, floor: Forgetting) -> FloorRatio | None:
    """Divide by the floor. None if the oracles do not differ, so that no figure is infinite."""
    if floor.forget.klom.mean > 0.0 and floor.forget.gaussian_klom.mean > 0.0 and floor.forget.paired > 0.0:
        return forgetting.over_floor(floor)
    return None
