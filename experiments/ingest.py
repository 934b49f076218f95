"""How do the memory and the time of ingest grow with the number of samples, in one process and on Ray?

Method: tables of 32 float32 features, up to ten million made-up samples, become runs of 16 shards: checked, placed and
written, each in a process of its own on one thread. Then each run is extended by a tenth of its samples, for which every
shard is written again; nothing is trained. Parquet's library alone reads the same table and writes its rows to 16 files with
the same options: nothing that writes such files is quicker. Peak memory is what is added to that of a small table, after
which all imports are there. A million samples are also placed on a Ray cluster of two CPUs, twice: by workers that start for
it, and by the same ones again. Processor time is that of all its processes, memory is the driver's. The files are compared.
The machine has two cores, which had other work.

Conclusion: one process keeps a part of the table and a part of one shard, so that from five to ten million samples its
memory hardly grows. From a million samples on, a third to a half of its time is that of Parquet's library. An extension
reads and writes all samples again, and so takes about as long as their ingest. On Ray the driver's memory does not grow
with the table either. Once its workers are up, Ray takes about as much of the processor as one process, but many times as
long: on two cores, which are busy, its processes wait for each other. A cluster pays where one machine's disk or hours do
not suffice, not before.
"""

import logging
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.made_up_samples import write_made_up
from experiments.plots import legend, logarithmic_x, look, panels
from experiments.process_memory import begin_peak, peak_bytes, present_bytes
from raymu.config import Config
from raymu.core.records import SampleFiles
from raymu.service.extension import Extension, read_new_samples
from raymu.service.ingest import prepare_run
from raymu.service.requests.sample_index import SampleIndex
from raymu.store.run import RunStore

ROWS, SMOKE_ROWS = (10**5, 10**6, 5 * 10**6, 10**7), (10**4, 3 * 10**4)
MOST_ON_RAY = 10**6
WARM_UP_ROWS = 2_000
FEATURES, SHARDS, CLASSES, EPOCHS = 32, 16, 4, 2
ONE, FIRST, AGAIN = "one process", "Ray, workers start", "Ray, workers are up"
EXTENDED, PARQUET = "extension by a tenth", "Parquet alone"
OPTIONS = {"compression": "zstd", "write_page_checksum": True}
"""Those of a run's tables."""


def measure(options: Options) -> list[Row]:
    counts = SMOKE_ROWS if options.is_smoke else ROWS
    return [
        row for count in counts for row in _measure(count, with_ray=count == max(c for c in counts if c <= MOST_ON_RAY))
    ]


def _measure(rows: int, *, with_ray: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write = partial(write_made_up, features=FEATURES, classes=CLASSES)
        write(folder / "samples.parquet", rows)
        write(folder / "new.parquet", rows // 10, first=rows)
        write(folder / "few.parquet", WARM_UP_ROWS)
        write(folder / "few new.parquet", WARM_UP_ROWS, first=WARM_UP_ROWS)
        for work in (parquet_alone, ingest, *((ingest_on_ray,) if with_ray else ()), extend):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                yield from ({"rows": rows, **row} for row in process.submit(work, folder).result())
            if work is not extend:
                runs = [folder / run / "samples" for run in (ONE, FIRST, AGAIN) if (folder / run).exists()]
                files = {tuple(sorted(path.name for path in run.iterdir())) for run in runs}
                assert len(files) <= 1, "Ray has other bytes, by which files are named"


def ingest(folder: Path) -> list[Row]:
    """Make a run of a table in this process, after one of a small table that brings in what is imported late."""
    _limit_threads()
    prepare_run(_config(folder / "few.parquet"), str(folder / "few")).write()
    return [_measured(ONE, lambda: prepare_run(_config(folder / "samples.parquet"), str(folder / ONE)).write())]


def extend(folder: Path) -> list[Row]:
    """Extend the run by another table, up to the point where its stages would be trained."""
    _limit_threads()
    prepare_run(_config(folder / "few.parquet"), str(folder / "extended")).write()
    _extend(folder / "extended", folder / "few new.parquet")
    return [_measured(EXTENDED, lambda: _extend(folder / ONE, folder / "new.parquet"))]


def parquet_alone(folder: Path) -> list[Row]:
    """Read the table and write its rows to as many files as the run has shards, by the library of Parquet alone."""
    _limit_threads()
    _copy(folder / "few.parquet", folder / "copy")
    return [_measured(PARQUET, lambda: _copy(folder / "samples.parquet", folder / "copy"))]


def _measured(where: str, work: Callable[[], object]) -> Row:
    before = present_bytes() / 1e6
    begin_peak()
    began, cpu = time.perf_counter(), time.process_time()
    work()
    cpu_s, seconds = time.process_time() - cpu, time.perf_counter() - began
    return {
        "where": where,
        "cpu_s": cpu_s,
        "seconds": seconds,
        "peak_mb": peak_bytes() / 1e6 - before,
        "imports_mb": before,
    }


def _extend(run: Path, table: Path) -> None:
    store = RunStore(str(run))
    manifest = store.manifest
    held = [
        SampleFiles(table=table, index=index) for table, index in zip(manifest.tables, manifest.indexes, strict=True)
    ]
    with closing(store.journal(is_read_only=True)) as journal:
        samples = SampleIndex(store, held.__getitem__)
        new = read_new_samples(store, Extension(data=str(table)), manifest.tables, [EPOCHS, EPOCHS], journal, samples)
    try:
        new.write(store, held)
    finally:
        new.close()


def _copy(table: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    source = pq.ParquetFile(table)
    for number, rows in enumerate(source.iter_batches(-(-source.metadata.num_rows // SHARDS))):
        pq.write_table(pa.Table.from_batches([rows]), folder / f"{number}.parquet", **OPTIONS)


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
            "training": {"epochs": EPOCHS},
            "partition": {"shards": SHARDS, "slices": 2},
            "unlearning": {},
            "cluster": {"fleet": "local"},
        }
    )


def summary(rows: pd.DataFrame) -> str:
    alone, extended, parquet = (rows[rows["where"] == where].set_index("rows") for where in (ONE, EXTENDED, PARQUET))
    memory = ", ".join(f"{alone.loc[count, 'peak_mb']:.0f} MB for {count:,} samples" for count in alone.index)
    speed = ", ".join(f"{count / alone.loc[count, 'cpu_s'] / 1000:,.0f},000" for count in alone.index)
    most = alone.index.max()
    parts = [
        f"one process takes {memory} above its imports, and places {speed} samples in a CPU second",
        f"Parquet alone takes {parquet.loc[most, 'cpu_s'] / alone.loc[most, 'cpu_s']:.0%} of its CPU seconds for {most:,}",
        f"extending {most:,} samples by a tenth takes {extended.loc[most, 'peak_mb']:.0f} MB and "
        f"{extended.loc[most, 'cpu_s'] / alone.loc[most, 'cpu_s']:.1f}x the CPU seconds of their ingest",
    ]
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
    for index, (where, label) in enumerate({ONE: "ingest", EXTENDED: EXTENDED, PARQUET: PARQUET}.items()):
        line = rows[rows["where"] == where]
        style = {"label": label, **look("", index)}
        if where != PARQUET:
            memory.plot(line["rows"], line["peak_mb"], **style)
        speed.plot(line["rows"], line["rows"] / line["cpu_s"], **style)
    for axes, label in ((memory, "memory above imports, MB"), (speed, "samples in a CPU second")):
        logarithmic_x(axes, tuple(rows for rows in sorted(set(rows["rows"])) if str(rows).strip("0") == "1"))
        axes.set_xlabel("samples")
        axes.set_ylabel(label)
        axes.set_ylim(0)
    legend(figure, [speed])
    return figure


EXPERIMENT = Experiment(name="ingest", doc=__doc__, results=("ingest.csv",), summary=summary, figures={"ingest": draw})

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
