"""How much of a bare PyTorch loop's throughput does a shard actor reach, and what do recorded contributions cost?

Method: one shard of eight is trained by a Ray shard actor (stages, checkpoints written through, everything raymu does),
and as many sample passes by the plainest loop that trains the same model on the same samples: a shuffled index, batches
picked from one tensor, one thread. Both by turns, five times; the ratio of samples per second. So for each reading of
contributions, with the bytes that it records for the shard; `gradient` records none. Fashion-MNIST; Ray's start and the
actors' are left out; two minutes.
"""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import ray
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from plots import panels
from rows import Row, Rows, column, distinct, mean, spread, where
from subjects import Subject
from torch.nn import functional as F
from workbench import Options, experiment

from raymu.config import Config
from raymu.data.tables import SampleTable, from_arrow
from raymu.runtime.cluster import cluster_connection
from raymu.runtime.fleet import ShardActor
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import TrainCommand, TrainReport
from raymu.store.run import RunStore
from raymu.training.models import build_model
from raymu.training.normalizer import Normalizer
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import make_optimizer

CONTRIBUTIONS = ("gradient", "group", "batch")
SHARDS, TURNS = 8, 5
COLOURS = ("#0072b2", "#009e73", "#d55e00")


def measure(options: Options) -> Rows:
    [subject, *_] = options.subjects(seeds=1)
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder, cluster_connection(subject.config(Path(folder)).cluster):
        for reading in CONTRIBUTIONS:
            rows += _try_reading(subject, reading, Path(folder) / reading)
    return rows


def _try_reading(subject: Subject, reading: str, place: Path) -> Rows:
    """By turns, so that what else the machine does falls on both."""
    place.mkdir()
    config = _config(subject, reading, place)
    prepare_run(config, str(place / "run")).write()
    store = RunStore(str(place / "run"))
    table, _ = from_arrow(store.read_table(store.manifest.tables[0]))
    rows: Rows = []
    for turn in range(1 if subject.is_smoke else TURNS):
        trained = train_in_actor(store)
        rate = trained.passes / trained.seconds
        bare = bare_loop(config, table, store.manifest.classes, int(trained.passes))
        told: Row = {"data": subject.data, "reading": reading, "turn": turn, "samples_per_second": rate}
        rows.append(told | {"bare_samples_per_second": bare, "ratio": rate / bare} | _bytes(trained))
    return rows


def _config(subject: Subject, reading: str, place: Path) -> Config:
    """Plain SGD, with which every reading goes; fixed batches about as large as the others."""
    plain: dict[str, Mapping[str, Any]] = {
        "partition": {"shards": SHARDS},
        "training": {"optimizer": "sgd", "learning_rate": 0.1},
    }
    config = subject.config(place, **plain)
    samples = pq.read_metadata(config.data.train).num_rows
    groups = max(1, round(samples / (SHARDS * config.partition.slices * config.training.batch_size)))
    unlearning = {"contributions": reading, "groups_per_slice": groups}
    return subject.config(place, **plain, unlearning=unlearning, cluster={"fleet": "ray"})


def train_in_actor(store: RunStore) -> TrainReport:
    """Train shard 0."""
    actor = ShardActor.options(num_cpus=1).remote()
    ray.get(actor.open.remote(store.location))
    work = TrainCommand(shard=0, table=store.manifest.tables[0], term=0)
    store.reports.delete([work.command_id])  # or it would answer with the turn before
    *_, last = [ray.get(reference) for reference in actor.run.remote(work)]
    ray.kill(actor)
    assert isinstance(last, TrainReport)
    return last


def bare_loop(config: Config, table: SampleTable, classes: int, passes: int) -> float:
    """Train for at least this many sample passes. returns: samples per second"""
    torch.set_num_threads(1)
    plan = TrainingSpec.of(config, input_shape=table.features.shape[1:], classes=classes)
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


def _bytes(trained: TrainReport) -> Row:
    """What training the shard left on disk."""
    lineage = trained.lineage
    return {
        "checkpoint_bytes": sum(one.file.byte_size for one in lineage.checkpoints if one),
        "update_bytes": sum(one.byte_size for one in lineage.updates if one),
    }


def draw(rows: Rows) -> Figure:
    figure, (rate, size) = panels(1, 2, width=3.2)
    readings = distinct(rows, "reading")
    for position, reading in enumerate(readings):
        found = where(rows, reading=reading)
        level, ends = mean(found, "ratio"), spread(found, "ratio")
        bars = [[level - ends[0]], [ends[1] - level]]
        rate.bar(position, level, yerr=bars, color=COLOURS[position], capsize=3)
        size.bar(position, mean(found, "update_bytes") / 1e6, color=COLOURS[position])
    checkpoints = mean(rows, "checkpoint_bytes")
    size.axhline(checkpoints / 1e6, color="black", lw=1.0, ls=":", label="slice checkpoints")
    size.set_yscale("symlog", linthresh=1.0)
    size.set_ylim(0.0, 20.0 * max(checkpoints, *column(rows, "update_bytes")) / 1e6)
    size.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,g}"))
    size.legend(frameon=False, loc="upper left")
    rate.axhline(1.0, color="black", lw=1.0, ls=":")
    rate.set_ylabel("samples/s, of a bare loop's")
    size.set_ylabel("recorded for a shard, MB")
    for one in (rate, size):
        one.set_xticks(range(len(readings)), readings)
        one.grid(visible=False, axis="x")
    return figure


if __name__ == "__main__":
    experiment("throughput", __doc__, measure, {"throughput": draw}, data=("fashion-mnist",))
