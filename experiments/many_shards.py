"""How do planning, a request and the coordinator's memory grow with the number of shards?

Method: runs of 10 to 1,000 shards of 40 made-up samples, with a logistic model and two slices, on two Ray actors for any
number of shards. For each run: a forecast of a request for one sample, from the files alone; opening the run, in which the
coordinator reads the home of every sample; ten requests for one sample each, one after the other, each until it is purged;
and one request that affects every shard. CPU time and resident memory are those of the coordinator's process; the wall time
also contains the repairs. One machine, so without a network. It takes four minutes.

Conclusion: what a request costs the coordinator grows with the number of shards, since a generation names all of them.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.plots import legend, logarithmic_x, logarithmic_y, look, panels, plot_spread
from experiments.setups import write_two_classes
from raymu.api import Run, open_run, train
from raymu.config import Config
from raymu.runtime.cluster import cluster_connection

SHARDS, SMOKE_SHARDS = (10, 30, 100, 300, 1000), (5, 10)
SAMPLES, SINGLES = 40, 10
COORDINATOR = "ray::CoordinatorService"
WHAT = {
    "plan": "forecast of a request",
    "open": "opening the run",
    "single": "a request for one sample",
    "every shard": "one that affects every shard",
}


def measure(options: Options) -> list[Row]:
    return [row for shards in (SMOKE_SHARDS if options.is_smoke else SHARDS) for row in _measure_shards(shards)]


def _measure_shards(shards: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        config = _config(shards, Path(folder))
        with cluster_connection(config.cluster):
            train(config, f"{folder}/run").close()
            with open_run(f"{folder}/run") as run:
                for row in _measure_requests(run, shards):
                    yield {"shards": shards, **row}


def _config(shards: int, folder: Path) -> Config:
    write_two_classes(folder / "samples.parquet", shards * SAMPLES)
    return Config.parse(
        {
            "data": {"train": str(folder / "samples.parquet")},
            "model": {"name": "logistic"},
            "training": {"epochs": 2},
            "partition": {"shards": shards, "slices": 2},
            "unlearning": {"strategy": "sisa"},
            "cluster": {"live_actors": 2},
        }
    )


def _measure_requests(run: Run, shards: int) -> Iterator[Row]:
    ids = np.random.default_rng(1).permutation(shards * SAMPLES).tolist()
    for turn in range(3):
        started = time.perf_counter()
        run.plan(ids=ids[turn : turn + 1])
        yield {"what": "plan", "turn": turn, "seconds": time.perf_counter() - started}
    started = time.perf_counter()
    run.warm_up()
    yield {"what": "open", "turn": 0, "seconds": time.perf_counter() - started, **_coordinator_usage()}
    for turn in range(SINGLES):
        yield {"what": "single", "turn": turn, **_revoke(run, ids[turn : turn + 1])}
    yield {"what": "every shard", "turn": 0, **_revoke(run, ids[SINGLES : len(ids) // 5])}


def _revoke(run: Run, ids: list[int]) -> Row:
    before, started = _coordinator_usage()["coordinator_s"], time.perf_counter()
    receipt = run.revoke(ids=ids)
    seconds, after = time.perf_counter() - started, _coordinator_usage()
    return {
        "seconds": seconds,
        "touched": len(receipt.shards),
        "repair_s": sum(part.seconds for part in receipt.shards),
        "coordinator_s": after["coordinator_s"] - before,
        "coordinator_mb": after["coordinator_mb"],
    }


def _coordinator_usage() -> Row:
    """Return CPU time and resident memory of the coordinator's process so far."""
    children = psutil.Process().children(recursive=True)
    [process] = [child for child in children if COORDINATOR in child.name()]
    cpu = process.cpu_times()
    return {"coordinator_s": cpu.user + cpu.system, "coordinator_mb": process.memory_info().rss / 1e6}


def summary(rows: pd.DataFrame) -> str:
    cells = []
    for shards in (rows["shards"].min(), rows["shards"].max()):
        by_what = dict(list(rows[rows["shards"] == shards].groupby("what")))
        every = by_what["every shard"].iloc[0]
        cells.append(
            f"{shards} shards: a forecast takes {1000.0 * by_what['plan']['seconds'].median():.0f} ms, a request "
            f"{1000.0 * by_what['single']['coordinator_s'].median():.0f} ms of the coordinator, one that affects every shard "
            f"{1000.0 * every['coordinator_s'] / every['touched']:.1f} ms a shard, and {every['coordinator_mb']:.0f} MB"
        )
    return "; ".join(cells)


def draw(rows: pd.DataFrame) -> Figure:
    figure, (seconds, cpu, memory) = panels(1, 3, width=3.4)
    for axes, column, measured in ((seconds, "seconds", list(WHAT)), (cpu, "coordinator_s", ["single", "every shard"])):
        for index, what in enumerate(WHAT):
            if what in measured:
                line = {"label": WHAT[what], **look(what, index)}
                plot_spread(axes, rows[rows["what"] == what], "shards", column, **line)
    plot_spread(memory, rows[rows["what"] == "every shard"], "shards", "coordinator_mb", **look("", 6))
    labels = ("wall time, s", "coordinator CPU time, s", "coordinator memory, MB")
    for axes, label in zip((seconds, cpu, memory), labels, strict=True):
        logarithmic_x(axes, sorted(rows["shards"].unique()))
        axes.set_xlabel("shards")
        axes.set_ylabel(label)
    logarithmic_y(seconds)
    logarithmic_y(cpu)
    memory.set_ylim(0.0, 1.1 * rows["coordinator_mb"].max())
    legend(figure, [seconds])
    return figure


EXPERIMENT = Experiment(
    name="many_shards", doc=__doc__, results=("many_shards.csv",), summary=summary, figures={"many_shards": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
