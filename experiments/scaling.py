"""How much faster are two workers than one?

Method: two workers train eight shards. Beside them, one worker trains four of the same size, on half of the samples (weak
scaling), and one worker all eight (strong scaling): fleets of so many Ray actors, the three by turns, every other time
in reverse. A speedup is how many times as many samples a second two workers train, in one and the same turn, from the
first command to the last report. The actors are up before; what it takes to start Ray and them is told apart.
Fashion-MNIST on two cores, which should have nothing else to do; five turns; three and a half minutes.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from data_sets import data_file
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plots import look, panels
from rows import Row, Rows, column, distinct, where
from subjects import Subject
from workbench import Options, experiment

from raymu.api import Run
from raymu.config import ClusterConfig
from raymu.runtime.cluster import cluster_connection
from raymu.service.coordinator.calls import Train
from raymu.service.ingest import prepare_run

TURNS = 5
SHARDS, SMOKE_SAMPLES = 8, 1600
CASES = ((1, SHARDS // 2, "weak"), (1, SHARDS, "strong"), (2, SHARDS, None))
"""Workers, their shards, and the kind of scaling that a comparison with two workers shows."""


def measure(options: Options) -> Rows:
    started = time.perf_counter()
    with cluster_connection(ClusterConfig()):
        told = {"ray_start_s": time.perf_counter() - started}
        return [
            {"data": subject.data, "turn": turn, **row, **told}
            for subject in options.subjects(seeds=1)
            for turn in range(1 if subject.is_smoke else TURNS)
            for row in _take_turn(subject, turn)
        ]


def _take_turn(subject: Subject, turn: int) -> Rows:
    rows: Rows = [
        {"workers": workers, "shards": shards, "scaling": scaling, **_train(subject, workers, shards)}
        for workers, shards, scaling in CASES[:: -1 if turn % 2 else 1]
    ]
    [together] = where(rows, workers=2)
    return [row | {"speedup": together["rate"] / row["rate"] if row["scaling"] else None} for row in rows]


def _train(subject: Subject, workers: int, shards: int) -> Row:
    every = pq.read_metadata(data_file(subject.data, "train", subject.folder)).num_rows
    samples = (SMOKE_SAMPLES if subject.is_smoke else every) * shards // SHARDS
    with tempfile.TemporaryDirectory() as folder:
        cluster = {"fleet": "ray", "live_actors": workers}
        config = replace(subject, samples=samples).config(Path(folder), cluster=cluster, partition={"shards": shards})
        prepare_run(config, f"{folder}/run").write()
        started = time.perf_counter()
        with Run(f"{folder}/run") as run:
            run.warm_up()
            up = time.perf_counter() - started
            report = run.coordinator().call(Train())
    seconds, passes = report.seconds, report.passes
    return {"actor_start_s": up, "seconds": seconds, "passes": passes, "rate": passes / seconds}


def draw(rows: Rows) -> Figure:
    names = distinct(rows, "data")
    figure, axes = panels(len(names), 2, width=3.3)
    for line, name in enumerate(names):
        of_set = where(rows, data=name)
        rate, speedup = axes[2 * line : 2 * line + 2]
        rates = {
            f"{workers} worker{'s' if workers > 1 else ''},\n{shards} shards": [
                one / 1000.0 for one in column(where(of_set, workers=workers, shards=shards), "rate")
            ]
            for workers, shards, _ in CASES
        }
        _draw_turns(rate, rates, "samples/s, thousands")
        speedups = {f"{kind}\nscaling": column(where(of_set, scaling=kind), "speedup") for *_, kind in CASES if kind}
        _draw_turns(speedup, speedups, "speedup by a second worker")
        speedup.axhline(2.0, color="black", lw=1.0, ls=":")
        speedup.set_ylim(top=2.2)
        for one in (rate, speedup):
            one.set_title(name)
    return figure


def _draw_turns(axes: Axes, found: dict[str, list[float]], label: str) -> None:
    """Every turn as a point, their median as a line."""
    for place, values in enumerate(found.values()):
        axes.plot([place] * len(values), values, ls="none", alpha=0.6, **look("sisa"))
        axes.hlines(float(np.median(values)), place - 0.2, place + 0.2, color="black", lw=1.2)
    axes.set_xticks(range(len(found)), list(found))
    axes.set_xlim(-0.5, len(found) - 0.5)
    axes.set_ylim(0.0, 1.1 * max(value for values in found.values() for value in values))
    axes.set_ylabel(label)
    axes.grid(visible=False, axis="x")


if __name__ == "__main__":
    experiment("scaling", __doc__, measure, {"scaling": draw}, data=("fashion-mnist",))
