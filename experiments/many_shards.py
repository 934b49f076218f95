"""How do planning, a request and the coordinator's memory grow with the number of shards?

Method: runs of 10 to 1,000 shards of 40 made-up samples with a logistic model and two slices, on two Ray actors, whatever
the number of shards. Per run: forecasting a request of one sample, from the files alone; opening the run (the coordinator
reads where every sample lies); ten requests of one sample, one after the other, each until it is purged; and one request
that touches every shard. Of the coordinator's process the processor time and the resident memory are measured, beside the
wall time, which also holds the repairs. On one machine, so without a network; four minutes.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from plots import legend, logarithmic_x, logarithmic_y, look, panels, with_spread
from rows import Row, Rows, column, distinct, where
from workbench import Options, experiment

from raymu.api import Run, open_run, train
from raymu.config import Config
from raymu.runtime.cluster import cluster_connection

SHARDS, SMOKE_SHARDS = (10, 30, 100, 300, 1000), (5, 10)
SAMPLES, FEATURES, SINGLES = 40, 4, 10
COORDINATOR = "ray::CoordinatorService"
WHAT = {
    "plan": "forecast of a request",
    "open": "opening the run",
    "single": "a request of one sample",
    "every shard": "one that touches every shard",
}


def measure(options: Options) -> Rows:
    return [row for shards in (SMOKE_SHARDS if options.is_smoke else SHARDS) for row in _try_shards(shards)]


def _try_shards(shards: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        config = _config(shards, Path(folder))
        with cluster_connection(config.cluster):
            train(config, f"{folder}/run").close()
            with open_run(f"{folder}/run") as run:
                for row in _requests(run, shards):
                    yield {"shards": shards, **row}


def _config(shards: int, folder: Path) -> Config:
    samples = shards * SAMPLES
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, samples)
    features = random.normal(size=(samples, FEATURES)).astype(np.float32) + labels[:, None].astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), FEATURES)
    pq.write_table(
        pa.table({"id": np.arange(samples), "label": labels, "features": column}), folder / "samples.parquet"
    )
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


def _requests(run: Run, shards: int) -> Iterator[Row]:
    ids = np.random.default_rng(1).permutation(shards * SAMPLES).tolist()
    for turn in range(3):
        started = time.perf_counter()
        run.plan(ids=ids[turn : turn + 1])
        yield {"what": "plan", "turn": turn, "seconds": time.perf_counter() - started}
    started = time.perf_counter()
    run.warm_up()
    yield {"what": "open", "turn": 0, "seconds": time.perf_counter() - started, **_coordinator()}
    for turn in range(SINGLES):
        yield {"what": "single", "turn": turn, **_revoke(run, ids[turn : turn + 1])}
    yield {"what": "every shard", "turn": 0, **_revoke(run, ids[SINGLES : len(ids) // 5])}


def _revoke(run: Run, ids: list[int]) -> Row:
    before, started = _coordinator()["coordinator_s"], time.perf_counter()
    receipt = run.revoke(ids=ids)
    seconds, after = time.perf_counter() - started, _coordinator()
    return {
        "seconds": seconds,
        "touched": len(receipt.shards),
        "repair_s": sum(part.seconds for part in receipt.shards),
        "coordinator_s": after["coordinator_s"] - before,
        "coordinator_mb": after["coordinator_mb"],
    }


def _coordinator() -> dict[str, Any]:
    """Of its process, so far: processor time and resident memory."""
    [process] = [one for one in psutil.Process().children(recursive=True) if COORDINATOR in one.name()]
    times = process.cpu_times()
    return {"coordinator_s": times.user + times.system, "coordinator_mb": process.memory_info().rss / 1e6}


def draw(rows: Rows) -> Figure:
    figure, (seconds, processor, memory) = panels(1, 3, width=3.4)
    shards = distinct(rows, "shards")
    for axes, name, measured in ((seconds, "seconds", WHAT), (processor, "coordinator_s", ("single", "every shard"))):
        for position, what in enumerate(WHAT):
            if what in measured:
                groups = [where(rows, shards=one, what=what) for one in shards]
                with_spread(axes, shards, groups, name, label=WHAT[what], **look(what, position))
    with_spread(
        memory, shards, [where(rows, shards=one, what="every shard") for one in shards], "coordinator_mb", **look("", 6)
    )
    for axes, label in zip(
        (seconds, processor, memory),
        ("wall time, s", "the coordinator's CPU time, s", "its memory, MB"),
        strict=True,
    ):
        logarithmic_x(axes, shards)
        axes.set_xlabel("shards")
        axes.set_ylabel(label)
    logarithmic_y(seconds)
    logarithmic_y(processor)
    memory.set_ylim(0.0, 1.1 * max(column(rows, "coordinator_mb")))
    legend(figure, [seconds])
    return figure


if __name__ == "__main__":
    experiment("many_shards", __doc__, measure, {"many_shards": draw})
