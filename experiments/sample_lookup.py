"""What does it cost to find a sample, or an owner's samples, as a run grows?

Method: runs of 100 shards with made-up ids, and owners of ten samples each. Their tables hold nothing else, and nothing is
trained. A process of its own opens each run, and looks up one id, the same again, one owner, and 1,000 ids. Beside them, all
indexes are made of the tables, as in a run of an earlier version whose owners decide the homes. CPU time and memory are those
of the lookup. At last a coordinator is opened in a process of its own, beside a fleet that trains nothing, and carries out a
request for one id, and one for an owner: the memory is what the process has gained since its imports. It takes four minutes.

Conclusion: a lookup reads the indexes of the shards that it touches, and nothing that grows with the run's other shards. Nor
does the coordinator's memory grow with the samples, but for a part of the hashes of owners.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.many_shards import InstantFleet, train_instantly
from experiments.plots import legend, logarithmic_x, logarithmic_y, look, panels, plot_spread
from raymu.config import Config
from raymu.core.partition import homes_of_hashes, identity_hashes
from raymu.core.records import SampleFiles
from raymu.core.trust import EVERYTHING
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.coordinator.session import in_thread
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.requests.sample_index import SampleIndex
from raymu.service.shard.messages import no_progress
from raymu.store.creation import create_run, write_new_shard
from raymu.store.run import RunStore

SHARDS, PER_OWNER = 100, 10
SAMPLES, SMOKE_SAMPLES = (100_000, 1_000_000, 10_000_000), (5_000,)
LOOKUPS = {
    "one id": "one id, cold",
    "one id again": "one id, warm",
    "1,000 ids": "1,000 ids",
    "one owner": "the samples of an owner",
    "one id, all tables": "one id in the tables of all shards",
}
COORDINATOR = {
    "coordinator, opened": "a coordinator that is opened",
    "coordinator, one id": "after a request for one id",
    "coordinator, one owner": "after one for an owner",
}


def measure(options: Options) -> list[Row]:
    return [row for samples in (SMOKE_SAMPLES if options.is_smoke else SAMPLES) for row in _measure_run(samples)]


def _measure_run(samples: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        look_up, coordinate = (partial(step, samples=samples) for step in (_look_up, _coordinate))
        for step in (partial(_write, samples=samples), look_up, _search_all_tables, _train, coordinate):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                for row in process.submit(step, f"{folder}/run").result():
                    yield {"samples": samples, **row}


def _write(location: str, samples: int) -> list[Row]:
    """Write a run's tables, indexes and routes."""
    manifest = prepare_run(_config(Path(location).parent), location).manifest
    config = Config.parse(manifest.config)
    ids = np.arange(samples)
    shards, slices = homes_of_hashes(
        identity_hashes(ids, seed=config.partition.seed, purpose="place"), config.partition
    )
    order = np.argsort(shards, kind="stable")
    rows = np.split(order, np.searchsorted(shards[order], np.arange(1, SHARDS)))
    started = time.process_time()
    tables = (
        pa.table(
            {"id": ids[part], "slice": slices[part], "owner": [f"owner-{each // PER_OWNER}" for each in ids[part]]}
        )
        for part in rows
    )
    store = RunStore(location)
    create_run(store, manifest, (write_new_shard(store, shard, table, config) for shard, table in enumerate(tables)))
    size = sum(ref.byte_size for ref in (*store.manifest.indexes, *(store.manifest.routes or ())) if ref)
    return [{"lookup": "write", "cpu_s": time.process_time() - started, "megabytes": size / 1e6}]


def _config(folder: Path) -> Config:
    few = 40 * SHARDS
    table = {"id": range(few), "owner": ["owner"] * few, "label": [0, 1] * (few // 2), "features": [[0.0, 1.0]] * few}
    pq.write_table(pa.table(table), folder / "few.parquet")
    return Config.parse(
        {
            "data": {"train": str(folder / "few.parquet"), "owner": "owner"},
            "model": {"name": "logistic"},
            "training": {"epochs": 2},
            "partition": {"shards": SHARDS, "slices": 2},
            "cluster": {"fleet": "local"},
        }
    )


def _look_up(location: str, samples: int) -> list[Row]:
    files = _files(location)
    index = SampleIndex(RunStore(location), files.__getitem__)
    ids = np.random.default_rng(3).permutation(samples)[:1_000].tolist()
    return [
        _measured("one id", lambda: index.homes(ids[:1])),
        _measured("one id again", lambda: index.homes(ids[:1])),
        _measured("one owner", lambda: index.owned_by([f"owner-{ids[1] // PER_OWNER}"])),
        _measured("1,000 ids", lambda: index.homes(ids)),
    ]


def _search_all_tables(location: str) -> list[Row]:
    store = RunStore(location)

    def search() -> None:
        for files in _files(location):
            store.samples.read_index(SampleFiles(table=files.table, index=None))

    return [_measured("one id, all tables", search)]


def _train(location: str) -> list[Row]:
    """Have a fleet write checkpoints that nothing was trained for, which makes it a run that a coordinator opens."""
    asyncio.run(train_instantly(location))
    return []


def _coordinate(location: str, samples: int) -> list[Row]:
    return asyncio.run(_requests(location, samples))


async def _requests(location: str, samples: int) -> list[Row]:
    """Measure the memory of a coordinator since the imports."""
    gc.collect()
    process, cpu = psutil.Process(), time.process_time()
    before = process.memory_info().rss
    rows: list[Row] = []

    def measured(lookup: str) -> None:
        megabytes = (process.memory_info().rss - before) / 1e6
        rows.append({"lookup": lookup, "cpu_s": time.process_time() - cpu, "megabytes": megabytes})

    store = RunStore(location, trust=EVERYTHING)
    coordinator = Coordinator(store, InstantFleet(store), offload=in_thread)
    measured("coordinator, opened")
    sample = int(np.random.default_rng(4).integers(samples))
    await coordinator.revoke([Revocation(ids=(sample,))], no_progress)
    measured("coordinator, one id")
    other = (sample // PER_OWNER + 1) % (samples // PER_OWNER)
    await coordinator.revoke([Revocation(owner=f"owner-{other}")], no_progress)
    measured("coordinator, one owner")
    await coordinator.close()
    return rows


def _files(location: str) -> list[SampleFiles]:
    manifest = RunStore(location).manifest
    return [
        SampleFiles(table=table, index=index) for table, index in zip(manifest.tables, manifest.indexes, strict=True)
    ]


def _measured(lookup: str, look_up: Callable[[], object]) -> Row:
    """Return the CPU time and the resident memory that a lookup adds."""
    process = psutil.Process()
    before, started = process.memory_info().rss, time.process_time()
    look_up()
    return {
        "lookup": lookup,
        "cpu_s": time.process_time() - started,
        "megabytes": (process.memory_info().rss - before) / 1e6,
    }


def summary(rows: pd.DataFrame) -> str:
    largest = rows[rows["samples"] == rows["samples"].max()].set_index("lookup")
    parts = [
        f"{what} {1000.0 * largest.loc[lookup, 'cpu_s']:,.1f} ms and {max(0.0, largest.loc[lookup, 'megabytes']):.0f} MB"
        for lookup, what in LOOKUPS.items()
    ]
    memory = [f"{what} {largest.loc[lookup, 'megabytes']:.0f} MB" for lookup, what in COORDINATOR.items()]
    return f"{rows['samples'].max():,} samples: {', '.join(parts)}; memory of {', '.join(memory)}"


def draw(rows: pd.DataFrame) -> Figure:
    figure, (seconds, memory) = panels(1, 2, width=3.6)
    for axes, column, scale in ((seconds, "cpu_s", 1000.0), (memory, "megabytes", 1.0)):
        for index, (lookup, what) in enumerate(LOOKUPS.items()):
            line = {"label": what, **look(lookup, index)}
            plot_spread(axes, rows[rows["lookup"] == lookup], "samples", column, scale=scale, **line)
        if column == "megabytes":
            for index, (lookup, what) in enumerate(COORDINATOR.items(), start=len(LOOKUPS)):
                line = {"label": what, **look(lookup, index), "ls": "--"}
                plot_spread(axes, rows[rows["lookup"] == lookup], "samples", column, **line)
        logarithmic_x(axes, sorted(rows["samples"].unique()))
        axes.set_xlabel("samples")
    logarithmic_y(seconds)
    seconds.set_ylabel("CPU time, ms")
    memory.set_ylabel("memory added, MB")
    legend(figure, [memory])
    return figure


EXPERIMENT = Experiment(
    name="sample_lookup", doc=__doc__, results=("sample_lookup.csv",), summary=summary, figures={"sample_lookup": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
