"""Parts of patches: samples that a model can memorise, a trained model, its weights, and contributions."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from raymu.config.unlearning import Contributions
from raymu.core.partition import identity_hashes
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.contributions import CONTRIBUTIONS, Contribute, ContributionsResult
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer
from tests.support.examples import make_config
from tests.support.shard_training import contributions_task


def make_samples(count: int, *, seed: int) -> ShardSamples:
    """Return samples of two noisy classes, which a model can memorise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    features = (random.normal(size=(count, 4)) + 0.7 * labels[:, None]).astype(np.float32)
    hashes = np.sort(identity_hashes(range(seed * 1000, seed * 1000 + count), seed=0, purpose="sample"))
    return ShardSamples(hashes=hashes, slices=np.zeros(count, dtype=np.int64), features=features, labels=labels)


def make_training(samples: ShardSamples, **model: Any) -> ShardTrainer:
    config = make_config(
        Path("never-read.parquet"),
        data={"classes": 2},
        model={"name": "mlp", "hidden": [16], **model},
        training={"epochs": 30, "learning_rate": 0.3},
        partition={"shards": 1, "slices": 1},
    )
    training = ShardTrainer(TrainingSpec.of(config, input_shape=(4,), classes=2), 0, torch.device("cpu"))
    training.train_stage(samples, 0)
    return training


def parameters(classifier: Classifier) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(classifier.model.parameters()).detach().clone()


def prepared(
    contributions: Contributions, classifier: Classifier, forget: ShardSamples, retain: ShardSamples
) -> Contribute:
    return CONTRIBUTIONS[contributions].prepare(contributions_task(classifier, forget, retain, rate=0.1))


def fixed(vector: torch.Tensor) -> Contribute:
    """Return a function whose contributions are this vector."""
    return lambda _samples: ContributionsResult(vector=vector, passes=0.0)
