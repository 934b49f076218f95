"""How do the memory and the time of ingest grow with the number of samples, in one process and on Ray?

Method: tables of 32 float32 features, up to ten million made-up samples, become runs of 16 shards: checked, placed and
written, each in a process of its own on one thread. Peak memory is what is added to that of a small table, after which all
imports are there. A million samples are also placed on a Ray cluster of two CPUs, twice: by workers that start for it, and by
the same ones again. Processor time is that of all its processes, memory is the driver's. The files are compared. The machine
has two cores, which had other work.

Conclusion: one process keeps a part of the table and a part of one shard, so that from five to ten million samples its memory
hardly grows. On Ray the driver's memory does not grow with the table either. Once its workers are up, Ray takes little more
of the processor than one process, but many times as long: on two cores, which are busy, its processes wait for each other. A
cluster pays where one machine's disk or hours do not suffice, not before.
"""

import logging
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import psutil
import pyarrow as pa
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.made_up_samples import write_made_up
from experiments.plots import logarithmic_x, look, panels
from experiments.process_memory import begin_peak, peak_bytes, present_bytes
from raymu.config import Config
from raymu.service.ingest import prepare_run

ROWS, SMOKE_ROWS = (10**5, 10**6, 5 * 10**6, 10**7), (10**4, 3 * 10**4)
MOST_ON_RAY = 10**6
WARM_UP_ROWS = 2_000
FEATURES, SHARDS, CLASSES = 32, 16, 4
ONE, FIRST, AGAIN = "one process", "Ray, workers start", "Ray, workers are up"


def measure(options: Options) -> list[Row]:
    counts = SMOKE_ROWS if options.is_smoke else ROWS
    return [
        row for count in counts for row in _measure(count, with_ray=count == max(c for c in counts if c <= MOST_ON_RAY))
    ]


def _measure(rows: int, *, with_ray: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_made_up(folder / "samples.parquet", rows, features=FEATURES, classes=CLASSES)
        write_made_up(folder / "few.parquet", WARM_UP_ROWS, features=FEATURES, classes=CLASSES)
        for work in (ingest, ingest_on_ray) if with_ray else (ingest,):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                yield from ({"rows": rows, **row} for row in process.submit(work, folder).result())
        runs = [folder / run / "samples" for run in (ONE, FIRST, AGAIN) if (folder / run).exists()]
        files = {tuple(sorted(path.name for path in run.iterdir())) for run in runs}
        assert len(files) == 1, "Ray has other bytes, by which files are named"


def ingest(folder: Path) -> list[Row]:
    """Make a run of a table in this process, after one of a small table that brings in what is imported late."""
    _limit_threads()
    prepare_run(_config(folder / "few.parquet"), str(folder / "few")).write()
    before = present_bytes() / 1e6
    begin_peak()
    began, cpu = time.perf_counter(), time.process_time()
    prepare_run(_config(folder / "samples.parquet"), str(folder / ONE)).write()
    cpu_s, seconds = time.process_time() - cpu, time.perf_counter() - began
    return [
        {
            "where": ONE,
            "cpu_s": cpu_s,
            "seconds": seconds,
            "peak_mb": peak_bytes() / 1e6 - before,
            "imports_mb": before,
        }
    ]


def ingest_on_ray(folder: Path) -> list[Row]:
    """Make the same run on a cluster of this machine, twice."""
    import ray

    from raymu.runtime.ingest import RowsOnRay

    _limit_threads()
    prepare_run(_config(folder / "few.parquet"), str(folder / "few too")).write()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    measured = []
    try:
        for where in (FIRST, AGAIN):
            before = present_bytes() / 1e6
            begin_peak()
            began, cpu = time.perf_counter(), _all_cpu_s()
            prepare_run(_config(folder / "samples.parquet"), str(folder / where), rows=partial(RowsOnRay)).write()
            cpu_s, seconds = _all_cpu_s() - cpu, time.perf_counter() - began
            peak_mb = peak_bytes() / 1e6 - before
            measured.append(
                {"where": where, "cpu_s": cpu_s, "seconds": seconds, "peak_mb": peak_mb, "imports_mb": before}
            )
    finally:
        ray.shutdown()
    return measured


def _limit_threads() -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}  # a busy machine would starve workers
    pa.set_cpu_count(1)


def _all_cpu_s() -> float:
    """Return the processor time of this process and of all that it started, those that ended too."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for process in psutil.Process().children(recursive=True):
        try:
            total += sum(process.cpu_times()[:4])  # of itself and of its ended children
        except psutil.Error:  # it has just ended
            continue
    return total


def _config(train: Path) -> Config:
    return Config.parse(
        {
            "data": {"train": str(train)},
            "model": {"name": "logistic"},
            "training": {"epochs": 2},
            "partition": {"shards": SHARDS, "slices": 2},
            "unlearning": {},
            "cluster": {"fleet": "local"},
        }
    )


def summary(rows: pd.DataFrame) -> str:
    alone = rows[rows["where"] == ONE].set_index("rows")
    memory = ", ".join(f"{alone.loc[count, 'peak_mb']:.0f} MB for {count:,} samples" for count in alone.index)
    speed = ", ".join(f"{count / alone.loc[count, 'cpu_s'] / 1000:,.0f},000" for count in alone.index)
    parts = [f"one process takes {memory} above its imports, and places {speed} samples in a CPU second"]
    for where in (FIRST, AGAIN):
        on_ray = rows[rows["where"] == where].iloc[0]
        beside = alone.loc[on_ray["rows"]]
        parts.append(
            f"{where}: {on_ray['rows']:,} samples take {on_ray['cpu_s'] / beside['cpu_s']:.1f}x the CPU seconds, "
            f"{on_ray['seconds'] / beside['seconds']:.1f}x the time and "
            f"{max(0.0, on_ray['peak_mb']):.0f} MB more of the driver"
        )
    return "; ".join(parts)


def draw(rows: pd.DataFrame) -> Figure:
    figure, (memory, speed) = panels(1, 2, width=3.4)
    alone = rows[rows["where"] == ONE]
    memory.plot(alone["rows"], alone["peak_mb"], **look("", 0))
    speed.plot(alone["rows"], alone["rows"] / alone["cpu_s"], **look("", 0))
    for axes, label in ((memory, "peak memory above the imports, MB"), (speed, "samples in a CPU second")):
        logarithmic_x(axes, tuple(rows for rows in sorted(set(alone["rows"])) if str(rows).strip("0") == "1"))
        axes.set_xlabel("samples")
        axes.set_ylabel(label)
        axes.set_ylim(0)
    return figure


EXPERIMENT = Experiment(name="ingest", doc=__doc__, results=("ingest.csv",), summary=summary, figures={"ingest": draw})

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
