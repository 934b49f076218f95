"""How much of a bare PyTorch loop's throughput does a shard actor reach?

Method: one shard of eight is trained by a shard actor (stages, checkpoints written through, everything raymu does), and as
many sample passes by the plainest loop that trains the same model on the same samples: a shuffled index, batches picked
from one tensor, one thread. Both by turns, five times; the ratio of samples per second. `group` and `batch` contributions
by the side. Ray's start and the actors' are left out. About two minutes on Fashion-MNIST.
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import ray
import torch
from torch.nn import functional as F
from workbench import keep, mlp_config, parser

from raymu.config import Config
from raymu.learn.classifier import ModelPlan, Normalizer
from raymu.learn.data import SampleTable, from_arrow
from raymu.learn.models import build_model
from raymu.learn.train import make_optimizer
from raymu.runtime.actors import ShardActor
from raymu.runtime.cluster import cluster_connection
from raymu.service.ingest import create_run
from raymu.service.work import ShardTrained, TrainShard
from raymu.store.run import RunStore

READINGS = ("gradient", "group", "batch")


def bare_loop(config: Config, table: SampleTable, classes: int, passes: int) -> float:
    """Train for at least this many sample passes. returns: samples per second"""
    torch.set_num_threads(1)
    plan = ModelPlan.of(config, input_shape=table.features.shape[1:], classes=classes)
    normalizer = Normalizer.fit(table.features, plan.normalize)
    inputs = normalizer.apply(table.features, torch.device("cpu"))
    labels = torch.from_numpy(table.labels.copy())
    model = build_model(plan.model, input_shape=plan.input_shape, classes=classes)
    optimizer = make_optimizer(model.parameters(), plan.training)
    done, started = 0, time.perf_counter()
    while done < passes:
        for rows in torch.randperm(len(labels)).split(plan.training.batch_size):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(inputs[rows]), labels[rows]).backward()
            optimizer.step()
        done += len(labels)
    return done / (time.perf_counter() - started)


def shard_actor(store: RunStore) -> tuple[float, int]:
    """Train shard 0 in an actor. returns: samples per second, and sample passes"""
    actor = ShardActor.options(num_cpus=1).remote(store)
    ray.get(actor.__ray_ready__.remote())
    work = TrainShard(shard=0, table=store.manifest.tables[0], epoch=0)
    *_, last = [ray.get(reference) for reference in actor.run.remote(work)]
    ray.kill(actor)
    assert isinstance(last, ShardTrained)
    return last.passes / last.seconds, int(last.passes)


def groups_per_slice(train: Path) -> int:
    """As many fixed batches as make them as large as the others: 64."""
    return round(pq.read_metadata(train).num_rows / (8 * 5 * 64))


def main() -> None:
    options = parser(__doc__).parse_args()
    repeats = 1 if options.smoke else 5
    result: dict[str, Any] = {"repeats": repeats}
    with tempfile.TemporaryDirectory() as folder, cluster_connection(mlp_config(options.train).cluster):
        for reading in READINGS:
            config = mlp_config(
                options.train,
                unlearning={"contributions": reading, "groups_per_slice": groups_per_slice(options.train)},
            )
            location = str(Path(folder) / reading)
            create_run(config, location)
            store = RunStore(location)
            table, _ = from_arrow(store.read_table(store.manifest.tables[0]))
            ratios, rates = [], []
            for _ in range(repeats):
                rate, passes = shard_actor(store)
                bare = bare_loop(config, table, store.manifest.classes, passes)
                rates.append(rate)
                ratios.append(rate / bare)
            result[reading] = {
                "ratio_to_bare_loop": round(median(ratios), 3),
                "spread": [round(float(np.min(ratios)), 3), round(float(np.max(ratios)), 3)],
                "samples_per_second": round(median(rates)),
            }
    keep("throughput", options.train, result)


if __name__ == "__main__":
    main()
