"""How much of a bare PyTorch loop's throughput does a shard actor reach, and what do recorded contributions cost?

Method: a Ray shard actor trains one shard of eight, with stages, checkpoints and everything else that raymu does. The
plainest loop makes as many sample passes with the same model on the same samples: a shuffled index, batches taken from one
tensor, one thread. Both run in turns, five times; the result is the ratio of samples per second, for each kind of
contributions, with the bytes that are recorded for the shard (`gradient` records none). Fashion-MNIST. The start of Ray and
of the actors is left out. It takes two minutes.

Conclusion: writing checkpoints, and above all recording updates, is expensive beside little training.
"""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import ray
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from torch.nn import functional as F

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.plots import look, panels, spread_bars
from experiments.setups import Setup
from raymu.config import Config
from raymu.core.commands import TrainShard
from raymu.data.run_table import from_arrow
from raymu.data.tables import SampleTable
from raymu.runtime.cluster import cluster_connection
from raymu.runtime.fleet import ShardActor
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import TrainReport, TrainTask
from raymu.store.run import RunStore
from raymu.training.models import build_model
from raymu.training.normalizer import Normalizer
from raymu.training.optimizers import build_optimizer
from raymu.training.spec import TrainingSpec

CONTRIBUTIONS = ("gradient", "group", "batch")
SHARDS, TURNS = 8, 5


def measure(options: Options) -> list[Row]:
    [setup, *_] = options.setups(seeds=1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, cluster_connection(setup.config(Path(folder)).cluster):
        for contributions in CONTRIBUTIONS:
            rows += _measure_contributions(setup, contributions, Path(folder) / contributions)
    return rows


def _measure_contributions(setup: Setup, contributions: str, folder: Path) -> list[Row]:
    """Time actor and loop in turns, so that other work on the machine slows both."""
    folder.mkdir()
    config = _config(setup, contributions, folder)
    prepare_run(config, str(folder / "run")).write()
    store = RunStore(str(folder / "run"))
    table, _ = from_arrow(store.read_table(store.manifest.tables[0]))
    rows: list[Row] = []
    for turn in range(1 if setup.is_smoke else TURNS):
        report = train_in_actor(store)
        rate = report.passes / report.seconds
        bare = bare_loop(config, table, store.manifest.classes, int(report.passes))
        rows.append(
            {
                "data": setup.data,
                "contributions": contributions,
                "turn": turn,
                "samples_per_second": rate,
                "bare_samples_per_second": bare,
                "ratio": rate / bare,
                **_written_bytes(report),
            }
        )
    return rows


def _config(setup: Setup, contributions: str, folder: Path) -> Config:
    """Return settings with plain SGD, which every kind of contributions supports, and groups about as large as batches."""
    plain: dict[str, Mapping[str, Any]] = {
        "partition": {"shards": SHARDS},
        "training": {"optimizer": "sgd", "learning_rate": 0.1},
    }
    config = setup.config(folder, **plain)
    samples = pq.read_metadata(config.data.train).num_rows
    groups = max(1, round(samples / (SHARDS * config.partition.slices * config.training.batch_size)))
    unlearning = {"contributions": contributions, "groups_per_slice": groups}
    return setup.config(folder, **plain, unlearning=unlearning, cluster={"fleet": "ray"})


def train_in_actor(store: RunStore) -> TrainReport:
    """Train shard 0 in a Ray actor."""
    actor = ShardActor.options(num_cpus=1).remote()
    ray.get(actor.open.remote(store.location))
    command = TrainTask(command=TrainShard(shard=0, table=store.manifest.tables[0]), term=0)
    store.reports.delete([command.command_id])  # otherwise the actor returns the report of the turn before
    *_, report = [ray.get(reference) for reference in actor.run.remote(command)]
    ray.kill(actor)
    assert isinstance(report, TrainReport)
    return report


def bare_loop(config: Config, table: SampleTable, classes: int, passes: int) -> float:
    """Train for at least this many sample passes. Returns samples per second."""
    torch.set_num_threads(1)
    spec = TrainingSpec.of(config, input_shape=table.array.shape[1:], classes=classes)
    normalizer = Normalizer.fit(table.array, spec.normalize)
    inputs = normalizer.apply(table.array, torch.device("cpu"))
    labels = torch.from_numpy(table.labels.copy())
    model = build_model(spec.model, input_shape=spec.input_shape, classes=classes)
    optimizer = build_optimizer(model.parameters(), spec.training)
    done, started = 0, time.perf_counter()
    while done < passes:
        for rows in torch.randperm(len(labels)).split(spec.training.batch_size):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(inputs[rows]), labels[rows]).backward()
            optimizer.step()
        done += len(labels)
    return done / (time.perf_counter() - started)


def _written_bytes(report: TrainReport) -> Row:
    lineage = report.lineage
    return {
        "checkpoint_bytes": sum(checkpoint.file.byte_size for checkpoint in lineage.checkpoints if checkpoint),
        "update_bytes": sum(update.byte_size for update in lineage.updates if update),
    }


def summary(rows: pd.DataFrame) -> str:
    cells = [
        f"{contributions} {measured['ratio'].median():.2f} ({measured['ratio'].min():.2f} to {measured['ratio'].max():.2f}), "
        f"{measured['update_bytes'].mean() / 1e6:.0f} MB"
        for contributions, measured in rows.groupby("contributions", sort=False)
    ]
    return (
        f"samples per second as a share of the bare loop's, and size of a shard's recorded updates: {'; '.join(cells)}"
    )


def draw(rows: pd.DataFrame) -> Figure:
    figure, (rate, size) = panels(1, 2, width=3.2)
    groups = rows.groupby("contributions", sort=False)
    ratios = groups["ratio"].agg(["mean", "min", "max"])
    colours = [look(contributions)["color"] for contributions in ratios.index]
    rate.bar(range(len(ratios)), ratios["mean"], yerr=spread_bars(ratios), color=colours, capsize=3)
    size.bar(range(len(ratios)), groups["update_bytes"].mean() / 1e6, color=colours)
    checkpoint_bytes = rows["checkpoint_bytes"].mean()
    size.axhline(checkpoint_bytes / 1e6, color="black", lw=1.0, ls=":", label="slice checkpoints")
    size.set_yscale("symlog", linthresh=1.0)
    size.set_ylim(0.0, 20.0 * max(checkpoint_bytes, rows["update_bytes"].max()) / 1e6)
    size.yaxis.set_major_formatter(FuncFormatter(lambda value, _index: f"{value:,g}"))
    size.legend(frameon=False, loc="upper left")
    rate.axhline(1.0, color="black", lw=1.0, ls=":")
    rate.set_ylabel("throughput / bare loop's")
    size.set_ylabel("recorded for a shard, MB")
    for panel in (rate, size):
        panel.set_xticks(range(len(ratios)), ratios.index)
        panel.grid(visible=False, axis="x")
    return figure


EXPERIMENT = Experiment(
    name="throughput", doc=__doc__, results=("throughput.csv",), summary=summary, figures={"throughput": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure, data=("fashion-mnist",))
