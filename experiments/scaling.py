"""How much faster are two workers than one?

Method: two workers train eight shards. For weak scaling, one worker trains four shards of the same size, on half of the
samples; for strong scaling, one worker trains all eight. The three fleets of Ray actors run in turns, every other turn in
reverse order. A speedup is the ratio of samples per second within one turn, from the first command to the last report. The
actors are started beforehand; the time to start Ray and the actors is kept separately. Fashion-MNIST on two cores, which
should be otherwise idle. Five turns. It takes three and a half minutes.

Conclusion: shards train side by side. Ray's own processes share the cores.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.markdown import median_ratio
from experiments.plots import look, panels
from experiments.setups import Setup, data_file
from raymu.api import Run
from raymu.config import ClusterConfig
from raymu.runtime.cluster import cluster_connection
from raymu.service.coordinator.calls import Train
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import no_progress

TURNS = 5
SHARDS, SMOKE_SAMPLES = 8, 1600
CASES = ((1, SHARDS // 2, "weak"), (1, SHARDS, "strong"), (2, SHARDS, None))
"""Workers, their shards, and the kind of scaling that a comparison with two workers shows."""


def measure(options: Options) -> list[Row]:
    started = time.perf_counter()
    with cluster_connection(ClusterConfig()):
        ray_start_s = time.perf_counter() - started
        return [
            {"data": setup.data, "turn": turn, **row, "ray_start_s": ray_start_s}
            for setup in options.setups(seeds=1)
            for turn in range(1 if setup.is_smoke else TURNS)
            for row in _measure_turn(setup, turn)
        ]


def _measure_turn(setup: Setup, turn: int) -> list[Row]:
    rows: list[Row] = [
        {"workers": workers, "shards": shards, "scaling": scaling, **_train(setup, workers, shards)}
        for workers, shards, scaling in CASES[:: -1 if turn % 2 else 1]
    ]
    [two_workers] = [row for row in rows if row["workers"] == 2]
    return [row | {"speedup": two_workers["rate"] / row["rate"] if row["scaling"] else None} for row in rows]


def _train(setup: Setup, workers: int, shards: int) -> Row:
    all_samples = pq.read_metadata(data_file(setup.data, "train", setup.folder)).num_rows
    samples = (SMOKE_SAMPLES if setup.is_smoke else all_samples) * shards // SHARDS
    with tempfile.TemporaryDirectory() as folder:
        cluster = {"fleet": "ray", "live_actors": workers}
        config = replace(setup, samples=samples).config(Path(folder), cluster=cluster, partition={"shards": shards})
        prepare_run(config, f"{folder}/run").write()
        started = time.perf_counter()
        with Run(f"{folder}/run") as run:
            run.warm_up()
            actor_start_s = time.perf_counter() - started
            report = run.coordinator().call(Train(), no_progress)
    seconds, passes = report.seconds, report.passes
    return {"actor_start_s": actor_start_s, "seconds": seconds, "passes": passes, "rate": passes / seconds}


def summary(rows: pd.DataFrame) -> str:
    weak, strong = (median_ratio(rows[rows["scaling"] == kind]["speedup"]) for kind in ("weak", "strong"))
    return f"twice the shards for two workers (weak scaling): {weak}; as many for both (strong scaling): {strong}"


def draw(rows: pd.DataFrame) -> Figure:
    names = rows["data"].unique()
    figure, axes = panels(len(names), 2, width=3.3)
    for panel_row, name in enumerate(names):
        measured = rows[rows["data"] == name]
        rate, speedup = axes[2 * panel_row : 2 * panel_row + 2]
        rates = {
            f"{workers} worker{'s' if workers > 1 else ''},\n{shards} shards": measured.query(
                "workers == @workers and shards == @shards"
            )["rate"]
            / 1000.0
            for workers, shards, _ in CASES
        }
        _draw_turns(rate, rates, "samples/s, thousands")
        speedups = {f"{kind}\nscaling": measured[measured["scaling"] == kind]["speedup"] for *_, kind in CASES if kind}
        _draw_turns(speedup, speedups, "speedup by a second worker")
        speedup.axhline(2.0, color="black", lw=1.0, ls=":")
        speedup.set_ylim(top=2.2)
        for panel in (rate, speedup):
            panel.set_title(name)
    return figure


def _draw_turns(axes: Axes, values_by_case: dict[str, pd.Series], label: str) -> None:
    """Draw every turn as a point, and the median as a line."""
    for index, values in enumerate(values_by_case.values()):
        axes.plot([index] * len(values), values, ls="none", alpha=0.6, **look("sisa"))
        axes.hlines(values.median(), index - 0.2, index + 0.2, color="black", lw=1.2)
    axes.set_xticks(range(len(values_by_case)), list(values_by_case))
    axes.set_xlim(-0.5, len(values_by_case) - 0.5)
    axes.set_ylim(0.0, 1.1 * max(values.max() for values in values_by_case.values()))
    axes.set_ylabel(label)
    axes.grid(visible=False, axis="x")


EXPERIMENT = Experiment(
    name="scaling", doc=__doc__, results=("scaling.csv",), summary=summary, figures={"scaling": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure, data=("fashion-mnist",))
