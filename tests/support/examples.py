"""Small data sets, configurations and runs that the tests share."""

import asyncio
import resource
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raymu.config import Config
from raymu.core.receipt import Receipt
from raymu.core.records import SampleId
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.store.run import RunStore


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Limit the size of this process's files, in bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_samples(
    path: Path,
    *,
    samples: int = 240,
    classes: int = 3,
    without: Collection[SampleId] = (),
    text_ids: bool = False,
    shuffle: int | None = None,
    owners: int = 40,
) -> pa.Table:
    """Write separable points around one centre per class, with owners and risks, except the ids in `without`."""
    random = np.random.default_rng(5)
    labels = random.integers(0, classes, samples)
    centres = random.normal(size=(classes, 6)) * 2.0
    features = (centres[labels] + random.normal(size=(samples, 6))).astype(np.float32)
    ids: list[SampleId] = [f"sample-{number}" if text_ids else 1000 + 7 * number for number in range(samples)]
    table = pa.table(
        {
            "id": ids,
            "label": labels,
            "features": pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), 6),
            "owner": [f"owner-{number}" for number in random.integers(0, owners, samples)],
            "risk": random.random(samples),
        }
    )
    kept = [row for row, sample_id in enumerate(ids) if sample_id not in set(without)]
    if shuffle is not None:
        kept = np.random.default_rng(shuffle).permutation(kept).tolist()
    table = table.take(kept)
    pq.write_table(table, path)
    return table


def make_config(train: Path | str, **branches: dict[str, Any]) -> Config:
    """Return a configuration that trains in a fraction of a second. `branches` overrides its settings."""
    tree: dict[str, dict[str, Any]] = {
        "data": {"train": str(train), "classes": 3},
        "model": {"name": "mlp", "hidden": [8]},
        "training": {"epochs": 4, "batch_size": 16, "learning_rate": 0.05},
        "partition": {"shards": 2, "slices": 3, "seed": 3},
        "unlearning": {},
        "cluster": {"fleet": "local"},
    }
    for branch, settings in branches.items():
        tree[branch] = settings if branch == "model" else {**tree.get(branch, {}), **settings}
    return Config.parse(tree)


def train_run(
    config: Config, location: Path | str, *, exclude: Collection[SampleId] = (), **options: Any
) -> Coordinator:
    """Train a run, and return its coordinator, which is in this process, has these options, and is to be closed."""
    prepare_run(config, str(location), exclude=exclude).write()
    coordinator = Coordinator(RunStore(str(location)), LocalFleet(RunStore(str(location))), **options)
    asyncio.run(coordinator.train(no_progress))
    return coordinator


def create_run(config: Config, location: Path | str, *, exclude: Collection[SampleId] = (), **options: Any) -> None:
    """Train a run and leave it, as `raymu train` does: nobody has it open afterwards."""
    asyncio.run(train_run(config, location, exclude=exclude, **options).close())


def revoke(coordinator: Coordinator, ids: Sequence[SampleId] = (), **fields: Any) -> Receipt:
    [receipt] = asyncio.run(coordinator.revoke([Revocation(ids=tuple(ids), **fields)], no_progress))
    return receipt


def settle(coordinator: Coordinator) -> None:
    asyncio.run(coordinator.settle(no_progress))


def served_weights(location: Path | str) -> dict[int, str | None]:
    """Return the hash of the weights that each shard serves, or None if it abstains."""
    return {
        constituent.shard: constituent.checkpoint.weights_sha256 if constituent.checkpoint else None
        for constituent in RunStore(str(location)).current().constituents
    }


def repaired_weights(location: Path | str) -> dict[int, str]:
    """Return the hash of each shard's repaired weights, also if it abstains because it has no samples."""
    return {lineage.shard: lineage.serving.weights_sha256 for lineage in RunStore(str(location)).current().lineages}
