"""Configurations and small shards that these tests share."""

from typing import Any

import numpy as np

from raymu.config import Config, DataConfig
from raymu.core.partition import identity_hashes
from raymu.data.tables import SampleTable
from raymu.training.batches import ShardSamples
from raymu.training.spec import TrainingSpec

FEATURES, CLASSES, SLICES = 4, 3, 3


def make_config(**branches: dict[str, Any]) -> Config:
    """branches: settings over those of a small run; a model is another model"""
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
    return make_config(data=settings).data


def make_plan(**branches: dict[str, Any]) -> TrainingSpec:
    return TrainingSpec.of(make_config(**branches), input_shape=(FEATURES,), classes=CLASSES)


def make_table(count: int = 50) -> SampleTable:
    """Separable points around one centre per class."""
    random = np.random.default_rng(3)
    labels = random.integers(0, CLASSES, count)
    centres = 3.0 * random.normal(size=(CLASSES, FEATURES))
    features = centres[labels] + random.normal(size=(count, FEATURES))
    return SampleTable(ids=np.arange(count), features=features.astype(np.float32), labels=labels)


def make_samples(table: SampleTable | None = None) -> ShardSamples:
    """The table's samples, each in a slice that depends on its id alone."""
    table = make_table() if table is None else table
    hashes = identity_hashes(table.ids.tolist(), seed=11, purpose="order")
    return ShardSamples.ordered(table, hashes=hashes, slices=table.ids.astype(np.int64) % SLICES)
