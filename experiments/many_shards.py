"""How do a request, opening and the coordinator's memory grow with the number of shards?

Method: runs of 10 to 10,000 shards of 40 made-up samples and two slices, with a real store, journal and coordinator in one
process, and a fleet whose repairs train nothing: it writes a small checkpoint for each stage and reports. What the fleet
takes is not counted, so that the CPU time is the coordinator's own: admission, commits, board, generations, purge and
receipts. For each run: opening it; requests for one sample each, one after the other, each until it is purged; and one
request that affects many shards. Up to 1,000 shards, the worst of the requests for one sample are those that write a
generation whole; of 10,000 shards, so few requests write none. A forecast reads the files alone. One machine, so without
a network.

Conclusion: a request costs the coordinator what it touches, on average, and now and then the writing of a whole generation.
"""

import asyncio
import gc
import hashlib
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.plots import legend, logarithmic_x, logarithmic_y, look, panels, plot_spread
from experiments.setups import write_two_classes
from raymu.api import open_run
from raymu.config import Config
from raymu.core.commands import RepairReport, RepairShard, TrainShard
from raymu.core.records import CheckpointRef, FileRef, Remedy, ShardLineage
from raymu.core.trust import EVERYTHING
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.coordinator.session import in_thread
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import (
    Progress,
    ShardLocations,
    TrainReport,
    TrainTask,
    Work,
    WorkReport,
    no_progress,
)
from raymu.store.run import RunStore

SHARDS, SMOKE_SHARDS = (10, 100, 1_000, 10_000), (5, 10)
SAMPLES, SLICES, MANY = 40, 2, 1_000
SINGLES, SMOKE_SINGLES = 200, 3
WHAT = {
    "plan": "forecast of a request",
    "open": "opening the run",
    "single": "a request for one sample",
    "many": "a large one",
}


class InstantFleet:
    """A fleet whose work trains nothing. It writes files as a worker does, and measures the time that it takes itself."""

    workers = 2
    running: Collection[int] = ()

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self.cpu_s = 0.0
        """CPU seconds of the fleet so far."""
        self.repair_count = 0

    async def run(self, work: Work, progress: Progress) -> WorkReport:  # noqa: ARG002
        started = time.thread_time()
        report = self._train(work.command) if isinstance(work, TrainTask) else self._repair(work.command)
        self.cpu_s += time.thread_time() - started
        return report

    async def warm_up(self) -> None:
        """Do nothing: there is no worker."""

    async def locations(self) -> ShardLocations:
        return {}

    async def close(self) -> None:
        """Do nothing: there is no worker."""

    def _train(self, command: TrainShard) -> TrainReport:
        slices = self._store.samples.read_table(command.table, ["slice"])["slice"].to_numpy()
        checkpoints = tuple(self._checkpoint(command.shard, stage, "trained") for stage in range(SLICES))
        lineage = ShardLineage(
            shard=command.shard,
            table=command.table,
            index=command.index,
            slice_samples=tuple(np.bincount(slices, minlength=SLICES).tolist()),
            checkpoints=checkpoints,
            updates=(None,) * SLICES,
            serving=checkpoints[-1],
            tainted_from=None,
            debts=(),
            seconds_per_pass=1e-4,
        )
        return TrainReport(lineage=lineage, passes=float(SAMPLES), seconds=1e-3, determinism="{}")

    def _repair(self, command: RepairShard) -> RepairReport:
        before, self.repair_count = command.lineage, self.repair_count + 1
        stages = range(command.earliest_slice, SLICES)
        lineage = before.retrained(
            table=before.table,
            index=before.index,
            slice_samples=before.slice_samples,
            checkpoints=tuple(self._checkpoint(command.shard, stage, command.command_id) for stage in stages),
            updates=(None,) * len(stages),
            seconds_per_pass=before.seconds_per_pass,
        )
        return RepairReport(
            command_id=command.command_id,
            request_ids=command.request_ids,
            planned=command.decision,
            remedy=Remedy.RETRAIN,
            reason=command.decision.reason,
            lineage=lineage,
            passes=command.decision.passes,
            seconds=1e-3,
            determinism="{}",
        )

    def _checkpoint(self, shard: int, stage: int, name: str) -> CheckpointRef:
        content = f"{shard} {stage} {name} {self.repair_count}".encode()
        file: FileRef = self._store.write_state(shard, f"stage-{stage}", content)
        digest = hashlib.sha256(content).hexdigest()
        return CheckpointRef(stage=stage, file=file, weights_sha256=digest, descent=digest)


def measure(options: Options) -> list[Row]:
    numbers, singles = (SMOKE_SHARDS, SMOKE_SINGLES) if options.is_smoke else (SHARDS, SINGLES)
    return [row for shards in numbers for row in _measure_shards(shards, singles)]


def _measure_shards(shards: int, singles: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        prepare_run(_config(shards, Path(folder)), f"{folder}/run").write()
        asyncio.run(train_instantly(f"{folder}/run"))
        ids = np.random.default_rng(1).permutation(shards * SAMPLES).tolist()
        with open_run(f"{folder}/run") as run:
            for turn in range(3):
                started = time.perf_counter()
                run.plan(ids=ids[turn : turn + 1])
                yield {"shards": shards, "what": "plan", "turn": turn, "seconds": time.perf_counter() - started}
        for row in asyncio.run(_measure_requests(f"{folder}/run", ids, singles)):
            yield {"shards": shards, **row}


def _config(shards: int, folder: Path) -> Config:
    write_two_classes(folder / "samples.parquet", shards * SAMPLES)
    return Config.parse(
        {
            "data": {"train": str(folder / "samples.parquet")},
            "model": {"name": "logistic"},
            "training": {"epochs": 2},
            "partition": {"shards": shards, "slices": SLICES},
            "unlearning": {"strategy": "sisa"},
            "cluster": {"fleet": "local"},
        }
    )


async def train_instantly(location: str) -> None:
    """Train a run with a fleet that trains nothing."""
    store = RunStore(location, trust=EVERYTHING)
    coordinator = Coordinator(store, InstantFleet(store))
    await coordinator.train(no_progress)
    await coordinator.close()


async def _measure_requests(location: str, ids: list[int], singles: int) -> list[Row]:
    gc.collect()
    store = RunStore(location, trust=EVERYTHING)
    fleet = InstantFleet(store)
    cpu, started = time.process_time(), time.perf_counter()
    coordinator = Coordinator(store, fleet, offload=in_thread)  # as on a cluster
    rows = [{"what": "open", "turn": 0, **_usage(fleet, cpu, started)}]
    await _revoke(coordinator, fleet, ids[:1])  # the first one after an opening reads more than later ones
    batch = ids[1 : 1 + min(singles, len(ids) // 2)]
    rows += [
        {"what": "single", "turn": turn, **await _revoke(coordinator, fleet, [each])} for turn, each in enumerate(batch)
    ]
    rows.append({"what": "many", "turn": 0, **await _revoke(coordinator, fleet, ids[1 + len(batch) :][:MANY])})
    await coordinator.close()
    return rows


async def _revoke(coordinator: Coordinator, fleet: InstantFleet, ids: list[int]) -> Row:
    fleet.cpu_s = 0.0
    cpu, started = time.process_time(), time.perf_counter()
    [receipt] = await coordinator.revoke([Revocation(ids=tuple(ids))], no_progress)
    return {"touched": len(receipt.shards), **_usage(fleet, cpu, started)}


def _usage(fleet: InstantFleet, cpu: float, started: float) -> Row:
    """Return what the coordinator took since a moment, and its memory."""
    return {
        "seconds": time.perf_counter() - started,
        "coordinator_s": time.process_time() - cpu - fleet.cpu_s,
        "coordinator_mb": psutil.Process().memory_info().rss / 1e6,
    }


def summary(rows: pd.DataFrame) -> str:
    cells = []
    for shards in (rows["shards"].min(), rows["shards"].max()):
        by_what = dict(list(rows[rows["shards"] == shards].groupby("what")))
        single, many = 1000.0 * by_what["single"]["coordinator_s"], by_what["many"].iloc[0]
        cells.append(
            f"{shards} shards: a request takes {single.mean():.0f} ms of the coordinator (half of them at most "
            f"{single.median():.0f} ms, the worst {single.max():.0f} ms), one that affects {many['touched']:.0f} shards "
            f"{1000.0 * many['coordinator_s'] / many['touched']:.1f} ms a shard, a forecast "
            f"{1000.0 * by_what['plan']['seconds'].median():.0f} ms"
        )
    return "; ".join(cells)


def draw(rows: pd.DataFrame) -> Figure:
    figure, (seconds, cpu, memory) = panels(1, 3, width=3.4)
    for axes, column, measured in ((seconds, "seconds", ["plan", "open"]), (cpu, "coordinator_s", ["single", "many"])):
        for index, what in enumerate(WHAT):
            if what in measured:
                line = {"label": WHAT[what], **look(what, index)}
                plot_spread(axes, rows[rows["what"] == what], "shards", column, **line)
    plot_spread(memory, rows[rows["what"] == "many"], "shards", "coordinator_mb", **look("", 6))
    labels = ("wall time, s", "coordinator CPU time, s", "memory of the process, MB")
    for axes, label in zip((seconds, cpu, memory), labels, strict=True):
        logarithmic_x(axes, sorted(rows["shards"].unique()))
        axes.set_xlabel("shards")
        axes.set_ylabel(label)
    logarithmic_y(seconds)
    logarithmic_y(cpu)
    memory.set_ylim(0.0, 1.1 * rows["coordinator_mb"].max())
    legend(figure, [seconds, cpu])
    return figure


EXPERIMENT = Experiment(
    name="many_shards", doc=__doc__, results=("many_shards.csv",), summary=summary, figures={"many_shards": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
