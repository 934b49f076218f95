"""How much of a bare PyTorch loop's throughput does a shard actor reach, and what do recorded contributions cost?

Method: a Ray shard actor trains one shard of eight, with stages, checkpoints and everything else that raymu does. The
plainest loop makes as many sample passes with the same model on the same samples: a shuffled index, batches taken from one
tensor, one thread. Both read the shard's table first. Both run in the actor's process, in turns, seven times. The results are
the ratios of samples per second, of wall time and of the process's CPU time, for each kind of contributions, with the bytes
that are recorded for the shard (`gradient` records none). CPU time counts what is hashed and written beside the training, and
other work on the machine changes it less. Fashion-MNIST. The start of Ray and of the actors is left out. It takes three
minutes.

Conclusion: without recorded updates an actor takes about the CPU time of the bare loop. Its batches are gathered in larger
steps, which makes up for its checkpoints. Recording updates stays expensive beside little training, since they have many
times the bytes of the checkpoints. By wall time the machine's other work decides.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import ray
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.measured_shard import MeasuredShard
from experiments.plots import look, panels, spread_bars
from experiments.setups import Setup
from raymu.config import Config
from raymu.core.commands import TrainShard
from raymu.core.trust import EVERYTHING
from raymu.runtime.cluster import cluster_connection
from raymu.runtime.messages import MessageCipher
from raymu.runtime.ray_internals import as_remote
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import TrainReport, TrainTask
from raymu.store.run import RunStore

CONTRIBUTIONS = ("gradient", "group", "batch")
SHARDS, TURNS = 8, 7


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
    prepare_run(_config(setup, contributions, folder), str(folder / "run")).write()
    store = RunStore(str(folder / "run"), trust=EVERYTHING)
    actor = as_remote(MeasuredShard).options(num_cpus=1).remote()
    ray.get(actor.open.remote(store.location))
    work = TrainTask(command=TrainShard(shard=0, table=store.manifest.tables[0]), term=0)
    rows: list[Row] = []
    for turn in range(1 if setup.is_smoke else TURNS):
        store.reports.delete([work.command_id])  # otherwise the actor returns the report of the turn before
        report, usage = ray.get(actor.train.remote(MessageCipher(store).encrypt(work)))
        bare = ray.get(actor.bare_loop.remote(store.location, usage.passes))
        rows.append(
            {
                "data": setup.data,
                "contributions": contributions,
                "turn": turn,
                "samples_per_second": usage.passes / usage.wall_s,
                "bare_samples_per_second": bare.passes / bare.wall_s,
                "ratio": usage.passes / usage.wall_s / (bare.passes / bare.wall_s),
                "cpu_ratio": usage.passes / usage.cpu_s / (bare.passes / bare.cpu_s),
                "load": os.getloadavg()[0],
                **_written_bytes(report),
            }
        )
    ray.kill(actor)
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


def _written_bytes(report: TrainReport) -> Row:
    lineage = report.lineage
    return {
        "checkpoint_bytes": sum(checkpoint.file.byte_size for checkpoint in lineage.checkpoints if checkpoint),
        "update_bytes": sum(update.byte_size for update in lineage.updates if update),
    }


def summary(rows: pd.DataFrame) -> str:
    cells = [
        f"{contributions} {_spread(measured['ratio'])} by wall time, {_spread(measured['cpu_ratio'])} by CPU time, "
        f"{measured['update_bytes'].mean() / 1e6:.0f} MB"
        for contributions, measured in rows.groupby("contributions", sort=False)
    ]
    return (
        "samples per second as a share of the bare loop's, and size of a shard's recorded updates: "
        f"{'; '.join(cells)} (at a load of {rows['load'].median():.0f} on {os.cpu_count()} cores)"
    )


def _spread(ratios: "pd.Series[float]") -> str:
    return f"{ratios.median():.2f} ({ratios.min():.2f} to {ratios.max():.2f})"


def draw(rows: pd.DataFrame) -> Figure:
    figure, (rate, size) = panels(1, 2, width=3.2)
    groups = rows.groupby("contributions", sort=False)
    ratios, cpu_ratios = (groups[column].agg(["median", "min", "max"]) for column in ("ratio", "cpu_ratio"))
    colours = [look(contributions)["color"] for contributions in ratios.index]
    for shift, label, hatch, measured in ((-0.2, "wall time", "", ratios), (0.2, "CPU time", "//", cpu_ratios)):
        places = [number + shift for number in range(len(measured))]
        bars = measured.rename(columns={"median": "mean"})
        rate.bar(
            places, bars["mean"], 0.38, yerr=spread_bars(bars), color=colours, hatch=hatch, edgecolor="white", capsize=3
        )
        rate.bar(0, 0, color="grey", hatch=hatch, edgecolor="white", label=label)
    rate.legend(frameon=False, loc="upper right")
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
