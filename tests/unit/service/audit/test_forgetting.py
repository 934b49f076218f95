"""The figures of a repeated remedy, from made-up confidences."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from raymu.core.audit.forgetting import ModelConfidences, forgetting_of
from raymu.core.audit.signals import probabilities
from raymu.core.receipt import Receipt, ShardReceipt
from raymu.core.records import Cost, Exactness, Remedy
from raymu.service.audit.forget_set import ForgottenSamples
from raymu.service.audit.forgetting import audit_remedy
from raymu.service.audit.report import ROW_NAMES, PerModel
from raymu.service.audit.shard_models import Repetitions, ShardModels
from raymu.training.audit.samples import AuditSamples
from raymu.training.audit.shadow_models import AuditedModel
from tests.support.shard_training import make_table
from tests.unit.training.audit.examples import FORGOTTEN, make_pool

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = 4
COSTS = {"remedy": 5.0, "control": 7.0, "exact": 100.0}
GAPS = {"remedy": 0.3, "untouched": 2.0, "control": 1.5, "exact": 0.0, "other_seed": 0.0}
"""What a row's models add to the log odds of forgotten samples."""


def models_of(samples: AuditSamples, name: str, shard: int) -> tuple[AuditedModel, ...]:
    random = np.random.default_rng([shard, list(GAPS).index(name)])
    count = len(samples.samples)
    confidences = random.normal(scale=0.3, size=(MODELS, count)) + GAPS[name] * samples.is_forgotten
    return tuple(
        AuditedModel(
            payload=b"",
            weights_sha256=f"{shard}-{name}-{number}",
            confidences=confidences[number],
            is_correct=np.arange(count) % 4 > 0,
            passes=0.0,
            seconds=0.0,
            failed_patches=int(name == "remedy" and number == 1),
        )
        for number in range(MODELS)
    )


def shard_models(shard: int, *, is_equal: bool | None = None) -> ShardModels:
    samples = replace(make_pool(), shard=shard)
    rows = {name: models_of(samples, name, shard) for name in GAPS}
    before = rows["untouched"][0]
    empty = np.zeros((0, len(samples.samples)))
    return ShardModels(
        audit_samples=samples,
        models=PerModel(served=before, oracle=before, control=before),
        before=before,
        twins=empty,
        shadows=empty,
        is_in=empty.astype(bool),
        scores={},
        epsilons=empty,
        repetitions=Repetitions(
            before=rows["untouched"],
            remedied=rows["remedy"],
            controls=rows["control"],
            oracles=rows["exact"],
            others=rows["other_seed"],
            remedy_cost=Cost(passes=COSTS["remedy"], seconds=0.1),
            control_cost=Cost(passes=COSTS["control"], seconds=0.1),
            oracle_cost=Cost(passes=COSTS["exact"], seconds=1.0),
            is_equal=is_equal,
        ),
        passes=0.0,
        seconds=0.0,
    )


def receipt(request_id: str, parts: dict[int, Remedy]) -> Receipt:
    shards = tuple(
        ShardReceipt(
            command_id=f"repair-{shard}",
            remedy=remedy,
            reason="",
            determinism="",
            passes=0.0,
            seconds=0.0,
            shard=shard,
            samples=1,
            planned=remedy,
            exactness=Exactness.EXACT if remedy is Remedy.RETRAIN else Exactness.APPROXIMATE,
            forecast_passes=0.0,
            forecast_seconds=0.0,
            requests=1,
        )
        for shard, remedy in parts.items()
    )
    return Receipt(
        request_id=request_id,
        hashes=(),
        strategy="hs",
        boundary="0.35",
        samples=len(shards),
        received_at=NOW,
        due_at=NOW,
        accepted_at=NOW,
        generation_before=1,
        manifest_before="",
        shards=shards,
    )


def forgotten_of(shards: list[ShardModels], parts: dict[int, Remedy], *, each: int = FORGOTTEN - 1) -> ForgottenSamples:
    """Return some forgotten samples of each shard. All those of a shard would be relearned, which trains models."""
    hashes = [shard.audit_samples.samples.hashes[shard.audit_samples.is_forgotten][:each] for shard in shards]
    numbers = [shard.audit_samples.shard for shard in shards]
    count = each * len(shards)
    homes = np.repeat(numbers, each)
    return ForgottenSamples(
        receipts=(receipt("r-1", parts),),
        table=make_table(count),
        pseudonyms=np.array([""] * count),
        request_ids=np.array(["r-1"] * count),
        shards=homes,
        slices=np.zeros(count, dtype=np.int64),
        hashes=np.concatenate(hashes),
        is_patched=np.array([parts[int(shard)] is not Remedy.RETRAIN for shard in homes]),
    )


def test_the_figures_are_those_of_the_shards_samples_side_by_side() -> None:
    shards = [shard_models(0), shard_models(1)]
    parts = {0: Remedy.PATCH, 1: Remedy.FINE_TUNE}
    forgotten = forgotten_of(shards, parts)
    audit = audit_remedy(shards, forgotten)
    assert audit is not None
    assert tuple(row.name for row in audit.rows) == ROW_NAMES
    assert (audit.repetitions, audit.samples, audit.failed_patches) == (MODELS, 2 * (FORGOTTEN - 1), 2)
    assert audit.remedies == (Remedy.PATCH, Remedy.FINE_TUNE)
    assert audit.is_exact is None

    def confidences(name: str) -> ModelConfidences:
        def of(kind: str) -> np.ndarray:
            return np.concatenate(
                [
                    np.stack([model.confidences for model in models_of(shard.audit_samples, name, number)])[
                        :, masks[kind][number]
                    ]
                    for number, shard in enumerate(shards)
                ],
                axis=1,
            )

        masks = {
            "forget": [shard.audit_samples.samples.isin(forgotten.hashes) for shard in shards],
            "retained": [shard.audit_samples.is_retained for shard in shards],
            "test": [shard.audit_samples.is_unseen for shard in shards],
        }
        return ModelConfidences(forget=of("forget"), retained=of("retained"), test=of("test"))

    for name, paired in (("remedy", "exact"), ("untouched", "exact"), ("exact", "exact"), ("other_seed", "other_seed")):
        kind = "exact" if name == "other_seed" else name
        figures = audit.row(name).forgetting  # type: ignore[arg-type]
        expected = forgetting_of(
            confidences(kind),
            paired=confidences(paired),
            oracles=confidences("other_seed"),
            accuracy=0.75,
            cost=figures.cost,
            seed=0,
        )
        assert (figures.forget, figures.retained, figures.test) == (expected.forget, expected.retained, expected.test)
        assert figures.lira.value == expected.lira.value


def test_costs_are_summed_over_shards_and_accuracy_is_that_on_unseen_samples() -> None:
    shards = [shard_models(0), shard_models(1)]
    audit = audit_remedy(shards, forgotten_of(shards, {0: Remedy.PATCH, 1: Remedy.PATCH}))
    assert audit is not None
    passes = {row.name: row.forgetting.cost.passes for row in audit.rows}
    assert passes == {"remedy": 10.0, "untouched": 0.0, "control": 14.0, "other_seed": 200.0, "exact": 200.0}
    hits = [np.arange(len(shard.audit_samples.samples)) % 4 > 0 for shard in shards]
    unseen = np.concatenate([hit[shard.audit_samples.is_unseen] for hit, shard in zip(hits, shards, strict=True)])
    assert [row.forgetting.accuracy for row in audit.rows] == [pytest.approx(unseen.mean())] * len(ROW_NAMES)
    assert all(row.forgetting.relearning_steps is None for row in audit.rows)


def test_ratios_are_those_to_another_seed() -> None:
    shards = [shard_models(0)]
    audit = audit_remedy(shards, forgotten_of(shards, {0: Remedy.PATCH}))
    assert audit is not None
    floor = audit.row("other_seed")
    exact, others = (models_of(shards[0].audit_samples, name, 0) for name in ("exact", "other_seed"))
    is_measured = shards[0].audit_samples.samples.isin(forgotten_of(shards, {0: Remedy.PATCH}).hashes)
    gaps = [
        np.abs(probabilities(model.confidences) - probabilities(other.confidences))[is_measured]
        for model, other in zip(exact, others, strict=True)
    ]
    assert floor.forgetting.forget.paired == pytest.approx(np.mean(gaps))
    for row in audit.rows:
        assert row.over_floor is not None
        assert row.over_floor.gaussian_klom == pytest.approx(
            row.forgetting.forget.gaussian_klom.mean / floor.forgetting.forget.gaussian_klom.mean
        )
    assert audit.row("exact").forgetting.forget.paired == 0.0


def test_retrained_samples_do_not_hide_what_patches_left() -> None:
    shards = [shard_models(0), shard_models(1, is_equal=True)]
    both = audit_remedy(shards, forgotten_of(shards, {0: Remedy.PATCH, 1: Remedy.RETRAIN}))
    alone = audit_remedy(shards[:1], forgotten_of(shards[:1], {0: Remedy.PATCH}))
    assert both == alone


@pytest.mark.parametrize("is_equal", [True, False])
def test_shards_that_are_all_retrained_are_exact_if_all_gave_the_oracles_bits(is_equal: bool) -> None:
    shards = [shard_models(0, is_equal=True), shard_models(1, is_equal=is_equal)]
    audit = audit_remedy(shards, forgotten_of(shards, {0: Remedy.RETRAIN, 1: Remedy.RETRAIN}))
    assert audit is not None
    assert (audit.is_exact, audit.remedies) == (is_equal, (Remedy.RETRAIN,))


def test_oracles_that_do_not_differ_give_no_ratio() -> None:
    shard = shard_models(0)
    assert shard.repetitions is not None
    same = (shard.repetitions.oracles[0],) * MODELS
    shards = [replace(shard, repetitions=replace(shard.repetitions, oracles=same, others=same))]
    audit = audit_remedy(shards, forgotten_of(shards, {0: Remedy.PATCH}))
    assert audit is not None
    assert all(row.over_floor is None for row in audit.rows)


def test_nothing_is_measured_without_repetitions() -> None:
    shards = [replace(shard_models(0), repetitions=None)]
    assert audit_remedy(shards, forgotten_of(shards, {0: Remedy.PATCH})) is None
