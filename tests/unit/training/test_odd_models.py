"""Models whose habits a checkpoint, a batch of one, or a patch has to know about."""

import numpy as np
import pytest
import torch

from raymu.config.unlearning import Contributions
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.contributions import CONTRIBUTIONS
from raymu.training.determinism import deterministic
from raymu.training.model_state import go_back, snapshot
from raymu.training.patch import subtract
from raymu.training.trainer import ShardTrainer
from tests.support.shard_training import SLICES, contributions_task, make_plan, make_samples

HERE = "tests.unit.training.stateful_code"
CPU = torch.device("cpu")


def trained(
    name: str, samples: ShardSamples, args: dict[str, str] | None = None, workers: int = 1
) -> tuple[ShardTrainer, Classifier]:
    """Train all stages. Returns the trainer, and the classifier that is restored from its last checkpoint."""
    spec = make_plan(
        model={"factory": f"{HERE}:{name}", "args": args or {}},
        cluster={"workers_per_shard": workers},
        unlearning={"contributions": "gradient"},
    )
    with deterministic(CPU, 1):
        trainer = ShardTrainer(spec, 3, CPU)
        for stage in range(SLICES):
            trainer.train_stage(samples, stage)
        payload, _ = trainer.dump(stage=SLICES - 1, determinism="a class")
    return trainer, Classifier.restore(payload, spec, device=CPU, source="a state")


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("no_statistics", {}),
        ("ghost", {}),
        ("squeezing", {}),
        ("drawn", {}),
        ("warm", {"kind": "transient"}),
        ("warm", {"kind": "lazy"}),
        ("warm", {"kind": "extra"}),
    ],
)
def test_a_restored_model_predicts_as_the_trained_one_row_by_row(name: str, args: dict[str, str]) -> None:
    samples = make_samples()
    trainer, restored = trained(name, samples, args)
    before = torch.get_rng_state().tolist()
    whole = trainer.classifier.probabilities(samples.features)
    assert np.array_equal(restored.probabilities(samples.features), whole)
    single = np.concatenate([restored.probabilities(samples.features[row : row + 1]) for row in range(3)])
    assert np.allclose(single, whole[:3], atol=1e-6)
    assert torch.get_rng_state().tolist() == before


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("name", ["no_statistics", "ghost", "squeezing"])
@pytest.mark.parametrize("count", range(42, 47))
def test_any_number_of_samples_can_be_trained_on(name: str, workers: int, count: int) -> None:
    samples = make_samples()
    trained(name, samples.where(np.arange(len(samples)) < count), workers=workers)


@pytest.mark.parametrize("method", [Contributions.GRADIENT, Contributions.CURVATURE])
@pytest.mark.parametrize("name", ["logging", "sparse", "no_statistics"])
def test_constant_infinities_and_sparse_gradients_do_not_fail_a_patch(name: str, method: Contributions) -> None:
    samples = make_samples()
    trainer, _ = trained(name, samples)
    is_forgotten = np.arange(len(samples)) == 4
    forget, retain = samples.where(is_forgotten), samples.where(~is_forgotten)
    before = snapshot(trainer.classifier.model)
    contribute = CONTRIBUTIONS[method].prepare(contributions_task(trainer.classifier, forget, retain))
    with deterministic(CPU, 1):
        patched = subtract(trainer.classifier, contribute, forget, retain).forget_loss
    assert np.isfinite(patched)
    go_back(trainer.classifier.model, before)
    assert trainer.classifier.mean_loss(forget.features, forget.labels) != patched
