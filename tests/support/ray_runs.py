"""Runs whose shards are actors on Ray."""

from pathlib import Path
from typing import Any

from ray.util import placement_group_table

from raymu.config import Config
from raymu.core.commands import TrainShard
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import TrainTask
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples


def config_on_ray(train: Path, *, shards: int = 4, **cluster: object) -> Config:
    """A run on Ray with two live actors by default: each is a process that imports PyTorch."""
    return make_config(
        train,
        partition={"shards": shards, "slices": 3},
        unlearning={"boundary": 0.7},
        cluster={"fleet": "ray", "live_actors": 2, **cluster},
    )


def write_run(folder: Path, **cluster: Any) -> RunStore:
    write_samples(folder / "all.parquet", samples=400)
    prepare_run(config_on_ray(folder / "all.parquet", **cluster), str(folder / "run")).write()
    return RunStore(str(folder / "run"))


def train_commands(store: RunStore) -> list[TrainTask]:
    return [
        TrainTask(command=TrainShard(shard=shard, table=table, index=index), term=0)
        for shard, (table, index) in enumerate(zip(store.manifest.tables, store.manifest.indexes, strict=True))
    ]


def placement_group_states() -> list[str]:
    """States of the placement groups that reserve resources, or wait to."""
    return [group["state"] for group in placement_group_table().values() if group["state"] != "REMOVED"]
