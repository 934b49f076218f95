"""Configurations and small shards for tests of training."""

from typing import Any

import numpy as np
import torch

from raymu.config import Config, CurvatureConfig, DataConfig
from raymu.config.unlearning import Contributions
from raymu.core.partition import identity_hashes
from raymu.data.tables import SampleTable
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.contributions import CONTRIBUTIONS, ContributionsTask, Logs
from raymu.training.spec import TrainingSpec
from raymu.training.stages import StageTask

Settings = dict[str, dict[str, Any]]

FEATURES, CLASSES, SLICES = 4, 3, 3

STATEFUL: Settings = {
    "model": {"name": "mlp", "hidden": [6], "batch_norm": True, "dropout": 0.4},
    "training": {"optimizer": "adam", "learning_rate": 0.01},
}
"""Settings whose checkpoints hold every kind of state: running statistics, dropout, and the optimizer's moments."""


def make_training_config(**branches: dict[str, Any]) -> Config:
    """Return the configuration of a small run. `branches` overrides its settings, and replaces its model."""
    tree: dict[str, dict[str, Any]] = {
        "data": {"train": "samples.parquet"},
        "training": {"epochs": 4, "batch_size": 8, "learning_rate": 0.1, "device": "cpu"},
        "partition": {"shards": 1, "slices": SLICES, "seed": 11},
        "unlearning": {},
        "cluster": {},
    }
    model = branches.pop("model", {"name": "mlp", "hidden": [5]})
    return Config.parse({name: tree[name] | branches.get(name, {}) for name in tree} | {"model": model})


def make_fields(**settings: Any) -> DataConfig:
    return make_training_config(data=settings).data


def make_plan(**branches: dict[str, Any]) -> TrainingSpec:
    return TrainingSpec.of(make_training_config(**branches), input_shape=(FEATURES,), classes=CLASSES)


def make_table(count: int = 50) -> SampleTable:
    """Return separable points around one centre per class."""
    random = np.random.default_rng(3)
    labels = random.integers(0, CLASSES, count)
    centres = 3.0 * random.normal(size=(CLASSES, FEATURES))
    features = centres[labels] + random.normal(size=(count, FEATURES))
    return SampleTable(ids=np.arange(count), features=features.astype(np.float32), labels=labels)


def make_samples(table: SampleTable | None = None) -> ShardSamples:
    """Return the table's samples, each in a slice that depends only on its id."""
    table = make_table() if table is None else table
    hashes = identity_hashes(table.ids.tolist(), seed=11, purpose="order")
    return ShardSamples.ordered(table, hashes=hashes, slices=table.ids.astype(np.int64) % SLICES)


def contributions_task(
    classifier: Classifier,
    forget: ShardSamples,
    retain: ShardSamples | None = None,
    *,
    logs: Logs | None = None,
    rate: float = 0.1,
    curvature: CurvatureConfig | None = None,
) -> ContributionsTask:
    """Return a task; recorded contributions need no retained samples."""
    return ContributionsTask(
        classifier=classifier,
        retain=forget.where(np.zeros(len(forget), dtype=bool)) if retain is None else retain,
        trained=len(forget) + (len(retain) if retain else 0),
        logs=logs or {},
        rate=rate,
        curvature=curvature or CurvatureConfig(),
        seed=11,
    )


def contributions_of(
    contributions: Contributions, classifier: Classifier, forget: ShardSamples, logs: Logs, rate: float
) -> torch.Tensor:
    """Compute contributions. Returns (parameters,)."""
    contribute = CONTRIBUTIONS[contributions].prepare(contributions_task(classifier, forget, logs=logs, rate=rate))
    return contribute(forget).vector


def stages_for(workers: int, settings: Settings, *, samples: int = 50, first: int = 0) -> StageTask:
    plan = make_plan(**settings, cluster={"workers_per_shard": workers})
    return StageTask(
        spec=plan,
        shard=0,
        samples=make_samples(make_table(samples)),
        first=first,
        checkpoint=None,
        contributions=Contributions.GRADIENT if plan.groups_per_slice is None else Contributions.GROUP,
        device="cpu",
        threads=1,
    )


class Counting(torch.nn.Linear):
    """Adds noise scaled by its number of calls. A rank calls it only for its own parts."""

    calls: torch.Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1
        return super().forward(inputs) + self.calls * torch.rand(len(inputs), 1) * 1e-3
