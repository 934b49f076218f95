"""One repetition of a remedy, on a small shard."""

from dataclasses import replace

import numpy as np
import pytest

from raymu.config import UnlearningConfig
from raymu.config.unlearning import Contributions
from raymu.core.audit.signals import losses
from raymu.core.records import Remedy
from raymu.errors import PatchFailed, TrainingFailed
from raymu.service.audit.repetition import train_audited
from raymu.service.shard.shard_patcher import ShardPatcher
from raymu.training.audit.remedy import AuditedRemedy, AuditedRepair
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import AuditedModel, control_model, train_model
from tests.unit.training.audit.examples import make_pool

TRAINING = {"epochs": 30, "learning_rate": 0.5}
GRADIENT = UnlearningConfig(contributions=Contributions.GRADIENT)


def forget_loss(samples: AuditSamples, model: AuditedModel) -> float:
    return float(losses(model.confidences[samples.is_forgotten]).mean())


def repair_of(samples: AuditSamples, remedy: Remedy, places: slice = slice(None)) -> AuditedRepair:
    """A repair that forgets some of the forgotten samples."""
    forgotten = samples.samples.where(samples.is_forgotten)
    return AuditedRepair(
        remedy=remedy,
        forget=forgotten.hashes[places],
        earliest_slice=int(forgotten.slices[places].min()),
    )


def reference(samples: AuditSamples) -> bytes:
    """A checkpoint of another shard: it never saw this shard's samples."""
    other = replace(samples, is_forgotten=samples.is_unseen, is_unseen=~samples.is_unseen)
    return train_model(other, ModelKind.BEFORE, 0).payload


def remedy_of(samples: AuditSamples, *repairs: AuditedRepair) -> AuditedRemedy:
    return AuditedRemedy(repairs=repairs, unlearning=GRADIENT, references=(reference(samples),))


def repeat(samples: AuditSamples, remedy: AuditedRemedy, number: int = 0) -> AuditedModel:
    return train_audited(samples, ModelKind.BEFORE, number, remedy)


@pytest.mark.parametrize("number", [0, 2])
def test_the_model_before_is_the_one_that_is_trained_without_a_remedy(number: int) -> None:
    samples = make_pool(training=TRAINING)
    remedy = AuditedRemedy(repairs=(), unlearning=GRADIENT)
    repeated = repeat(samples, remedy, number)
    before = train_model(samples, ModelKind.BEFORE, number)
    assert repeated.weights_sha256 == before.weights_sha256
    assert repeated.passes == before.passes
    assert repeated.remedied is None
    assert repeated.control is not None
    control = control_model(samples, before, GRADIENT.ohs, number=number)
    assert repeated.control.weights_sha256 == control.weights_sha256


@pytest.mark.parametrize("model", [{"name": "mlp", "hidden": [5]}, {"name": "mlp", "hidden": [5], "batch_norm": True}])
def test_a_retraining_gives_the_oracle_bit_for_bit_and_is_repeated_once(model: dict[str, object]) -> None:
    samples = make_pool(model=model, training={**TRAINING, "optimizer": "adam", "learning_rate": 0.01})
    remedy = remedy_of(samples, repair_of(samples, Remedy.RETRAIN))
    first, second = repeat(samples, remedy), repeat(samples, remedy, 1)
    oracle = train_model(samples, ModelKind.ORACLE, 0)
    assert first.remedied is not None
    assert first.remedied.weights_sha256 == oracle.weights_sha256 != first.weights_sha256
    assert first.remedied.passes <= oracle.passes
    assert second.remedied is None


def test_a_patch_brings_the_loss_to_that_of_models_which_never_saw_the_forget_set() -> None:
    samples = make_pool(training=TRAINING)
    remedy = remedy_of(samples, repair_of(samples, Remedy.PATCH))
    model, again = repeat(samples, remedy, 1), repeat(samples, remedy, 1)
    assert model.remedied is not None
    assert again.remedied is not None
    assert model.remedied.weights_sha256 == again.remedied.weights_sha256
    assert forget_loss(samples, model.remedied) > 2.0 * forget_loss(samples, model)
    assert 0.0 < model.remedied.passes < model.passes
    assert model.remedied.failed_patches == 0


def test_repetitions_have_seeds_of_their_own() -> None:
    samples = make_pool(training=TRAINING)
    remedy = remedy_of(samples, repair_of(samples, Remedy.PATCH))
    models = [repeat(samples, remedy, number) for number in range(3)]
    assert len({model.weights_sha256 for model in models}) == 3
    assert len({model.remedied.weights_sha256 for model in models if model.remedied}) == 3


def test_several_repairs_are_repeated_one_after_the_other() -> None:
    samples = make_pool(training=TRAINING)
    parts = [repair_of(samples, Remedy.RETRAIN, slice(0, 2)), repair_of(samples, Remedy.PATCH, slice(2, None))]
    both = repeat(samples, remedy_of(samples, *parts)).remedied
    patched = repeat(samples, remedy_of(samples, parts[1])).remedied
    assert both is not None
    assert patched is not None
    assert both.passes > patched.passes
    assert both.weights_sha256 != patched.weights_sha256
    hashes = samples.samples.hashes
    without = ~np.isin(hashes, parts[0].forget)
    smaller = replace(
        samples,
        samples=samples.samples.where(without),
        is_forgotten=samples.is_forgotten[without],
        is_unseen=samples.is_unseen[without],
    )
    remedy = replace(remedy_of(samples, parts[1]), repairs=(parts[1],))
    alone = repeat(smaller, remedy).remedied
    assert alone is not None
    assert both.weights_sha256 == alone.weights_sha256


@pytest.mark.parametrize(
    "failure",
    [PatchFailed("no strength is enough"), TrainingFailed(0, 2, "too little memory"), ZeroDivisionError()],
    ids=["patch", "training", "model"],
)
def test_a_patch_that_fails_is_replaced_by_retraining_and_counted(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_arguments: object) -> None:
        raise failure

    samples = make_pool(training=TRAINING)
    remedy = remedy_of(samples, repair_of(samples, Remedy.PATCH))
    monkeypatch.setattr(ShardPatcher, "patch", fail)
    model = repeat(samples, remedy).remedied
    assert model is not None
    assert model.failed_patches == 1
    assert model.weights_sha256 == train_model(samples, ModelKind.ORACLE, 0).weights_sha256
