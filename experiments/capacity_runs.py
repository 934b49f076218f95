"""The runs that `capacity.py` measures: made-up samples, trained in this process."""

import asyncio
import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raymu.config import Config
from raymu.core.records import ShardLineage
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import Progress, Work, WorkReport, no_progress
from raymu.store.run import RunStore

PIXELS, CLASSES = 784, 10


def write_samples(path: Path, *, samples: int, features: int) -> None:
    """Random bytes: what no compression makes smaller."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, samples * features, dtype=np.uint8)
    column = pa.FixedSizeListArray.from_arrays(pa.array(pixels), features)
    labels = random.integers(0, CLASSES, samples)
    pq.write_table(pa.table({"id": np.arange(samples), "label": labels, "features": column}), path)


def configure(folder: Path, *, samples: int, features: int = PIXELS, **branches: Mapping[str, Any]) -> Config:
    """A configuration on samples that are written to the folder. branches: settings that differ"""
    train = folder / f"{samples}x{features}.parquet"
    if not train.exists():
        write_samples(train, samples=samples, features=features)
    tree: dict[str, Any] = {
        "data": {"train": str(train), "classes": CLASSES, "normalize": "unit"},
        "model": {"name": "mlp", "hidden": [256]},
        "training": {"epochs": 3, "learning_rate": 0.01, "device": "cpu"},
        "partition": {"shards": 4, "slices": 5, "seed": 7},
        "unlearning": {},
        "cluster": {"fleet": "local"},
    }
    for branch, settings in branches.items():
        tree[branch] = settings if branch == "model" else {**tree[branch], **settings}
    return Config.parse(tree)


class MeasuringFleet(LocalFleet):
    """message_bytes: pickled, of all work and its reports; busy_s: of the processor; passes: of samples"""

    def __init__(self, store: RunStore) -> None:
        super().__init__(store)
        self.message_bytes, self.busy_s, self.passes = 0, 0.0, 0.0

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        started = time.process_time()
        report = await super().run(work, progress)
        self.busy_s += time.process_time() - started
        self.passes += report.passes
        self.message_bytes += len(pickle.dumps(work)) + len(pickle.dumps(report))
        return report


def trained(config: Config, location: Path) -> tuple[Coordinator, MeasuringFleet]:
    prepare_run(config, str(location)).write()
    fleet = MeasuringFleet(RunStore(str(location)))
    coordinator = Coordinator(RunStore(str(location)), fleet)
    asyncio.run(coordinator.train(no_progress))
    return coordinator, fleet


def lineages_of(location: Path) -> tuple[ShardLineage, ...]:
    return RunStore(str(location)).current().lineages


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """returns: seconds of the processor, and what the call returns"""
    started = time.process_time()
    result = call()
    return time.process_time() - started, result
