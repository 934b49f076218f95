"""How much faster are two workers than one?

Method: all shards are trained by a fleet of one Ray actor and by a fleet of two, by turns, three times; the wall time
between the first command and the last report. The actors are up before; what it takes to start Ray and them is told
apart. Eight shards of Fashion-MNIST on two cores; two minutes.
"""

import tempfile
import time
from pathlib import Path

from matplotlib.figure import Figure
from plots import look, panels, with_spread
from rows import Row, Rows, distinct, where
from subjects import Subject
from workbench import Options, experiment

from raymu.api import Run
from raymu.runtime.cluster import cluster_connection
from raymu.service.ingest import create_run

TURNS = 3
SHARDS = 8


def measure(options: Options) -> Rows:
    rows: Rows = []
    for subject in options.subjects(seeds=1):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            with cluster_connection(subject.config(Path(folder)).cluster):
                ray_start = time.perf_counter() - started
                for turn in range(1 if subject.is_smoke else TURNS):
                    for workers in (1, 2):
                        told = {"data": subject.data, "turn": turn, "workers": workers, "ray_start_s": ray_start}
                        rows.append(told | _train(subject, Path(folder) / f"{workers}-{turn}", workers))
    return rows


def _train(subject: Subject, place: Path, workers: int) -> Row:
    place.mkdir()
    cluster = {"fleet": "ray", "live_actors": workers}
    create_run(subject.config(place, cluster=cluster, partition={"shards": SHARDS}), str(place / "run"))
    started = time.perf_counter()
    with Run(place / "run") as run:
        run.warm_up()
        up = time.perf_counter() - started
        run.train()
        return {"actor_start_s": up, "seconds": run.training.seconds, "passes": run.training.passes}


def draw(rows: Rows) -> Figure:
    names = distinct(rows, "data")
    figure, axes = panels(1, len(names), width=3.6)
    for one, name in zip(axes, names, strict=True):
        workers = distinct(rows, "workers")
        groups = [where(rows, data=name, workers=count) for count in workers]
        with_spread(one, workers, groups, "seconds", **look("sisa"))
        one.set_xticks(workers)
        one.set_ylim(bottom=0.0)
        one.set_title(f"{name}, {SHARDS} shards")
        one.set_xlabel("workers")
        one.set_ylabel("seconds of training")
    return figure


if __name__ == "__main__":
    experiment("scaling", __doc__, measure, {"scaling": draw}, data=("fashion-mnist",))
