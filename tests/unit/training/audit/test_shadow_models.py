import pickle

import numpy as np
import pytest
import torch

from raymu.config import OhsConfig
from raymu.core.audit.signals import losses
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import control_model, restored_model, train_model, true_class_log_odds
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.determinism import deterministic
from raymu.training.losses import CrossEntropy
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import SLICES, make_plan
from tests.unit.training.audit.examples import FORGOTTEN, make_parts, make_pool


def trained_weights(samples: ShardSamples) -> str:
    """Return the weights of a shard that is trained on these samples."""
    with deterministic(torch.device("cpu"), 1):
        training = ShardTrainer(make_plan(), 0, torch.device("cpu"))
        for stage in range(SLICES):
            training.train_stage(samples, stage)
        return training.dump(stage=SLICES - 1, determinism="")[1]


def test_the_oracle_is_the_shard_that_never_saw_the_forget_set() -> None:
    retain, _, _ = make_parts()
    assert train_model(make_pool(), ModelKind.ORACLE, 0).weights_sha256 == trained_weights(retain)


def test_the_model_before_is_the_shard_that_saw_all_of_its_samples() -> None:
    retain, forget, _ = make_parts()
    whole = ShardSamples.joined([retain, forget])
    assert train_model(make_pool(), ModelKind.BEFORE, 0).weights_sha256 == trained_weights(whole)


def test_further_oracles_saw_the_same_samples_and_are_other_models() -> None:
    oracles = [train_model(make_pool(), ModelKind.ORACLE, number) for number in range(3)]
    assert len({oracle.weights_sha256 for oracle in oracles}) == 3
    assert len({oracle.passes for oracle in oracles}) == 1


@pytest.mark.parametrize("kind", ModelKind)
def test_a_model_is_a_function_of_its_pool_wherever_it_is_trained(kind: ModelKind) -> None:
    pool = make_pool()
    sent: AuditSamples = pickle.loads(pickle.dumps(pool))
    torch.manual_seed(5)
    first = train_model(pool, kind, 1)
    torch.manual_seed(9)
    second = train_model(sent, kind, 1)
    assert first.weights_sha256 == second.weights_sha256
    np.testing.assert_array_equal(first.confidences, second.confidences)


def test_shadow_models_are_trained_on_halves_of_the_pool() -> None:
    pool = make_pool()
    first, second = (pool.members(ModelKind.SHADOW, number) for number in (0, 1))
    np.testing.assert_array_equal(first, ~second)
    assert (first & pool.is_unseen).any()
    assert (first & pool.is_forgotten).sum() < FORGOTTEN
    assert (pool.is_forgotten.sum(), pool.is_unseen.sum(), pool.is_retained.sum()) == (FORGOTTEN, 40, 36)


def test_the_control_trains_on_and_still_knows_its_forget_set() -> None:
    pool = make_pool(training={"epochs": 30, "learning_rate": 0.5})
    before = train_model(pool, ModelKind.BEFORE, 0)
    control = control_model(pool, before, OhsConfig(slices=1, epochs=3))
    assert control.weights_sha256 != before.weights_sha256
    assert control.passes == (pool.samples.slices[pool.is_retained] == SLICES - 1).sum()
    oracle = train_model(pool, ModelKind.ORACLE, 0)
    of_before, of_control, of_oracle = (
        losses(model.confidences[pool.is_forgotten]).mean() for model in (before, control, oracle)
    )
    assert max(of_before, of_control) < of_oracle


def test_a_restored_checkpoint_is_the_model_that_was_dumped() -> None:
    pool = make_pool()
    model = train_model(pool, ModelKind.BEFORE, 0)
    again = restored_model(pool, model.payload, source="test")
    assert again.weights_sha256 == model.weights_sha256
    np.testing.assert_array_equal(again.confidences, model.confidences)


def test_log_odds_are_those_of_the_probabilities_and_do_not_saturate() -> None:
    samples, _, _ = make_parts()
    model = torch.nn.Linear(4, 3)
    classifier = Classifier.around(model, CrossEntropy(), classes=3)
    own = classifier.probabilities(samples.features)[np.arange(len(samples)), samples.labels].astype(np.float64)
    assert true_class_log_odds(classifier, samples) == pytest.approx(np.log(own / (1.0 - own)), abs=1e-4)
    with torch.no_grad():
        model.weight.mul_(1000.0)
    assert np.isfinite(true_class_log_odds(classifier, samples)).all()
    assert true_class_log_odds(classifier, samples).max() > 100.0
