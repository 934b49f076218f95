"""What does a whole run of ten million samples take on one machine, command by command?

Method: made-up samples of 32 float32 numbers with two classes, in 100 shards of two slices, one epoch of an MLP 32-64-2,
without Ray. Each command is a process of its own: training; a revocation of one sample, which starts cold; a revocation of
1,000 samples by patches; the settlement that retrains what was patched; the verification; the status. Wall time, CPU time and
peak memory are those of the process. The time to rewound runs from the start of the command to the time on the receipt.
Last, a process that has imported everything opens the run and serves ten requests of one sample with a fleet that trains
nothing (`experiments/many_shards.py`): how much its peak grows is the memory of a coordinator whose shards are trained
elsewhere. Smaller runs beside it show how each grows. It takes seven minutes on two cores.

Conclusion: a request costs what the shards that it touches hold, and its first answer is mostly the start of the process. The
memory of a training still grows, though much less than the table.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, run_experiment
from experiments.made_up_samples import write_made_up
from experiments.many_shards import InstantFleet
from experiments.plots import legend, logarithmic_x, logarithmic_y, look, panels, plot_spread
from experiments.process_memory import peak_bytes
from raymu.core.trust import EVERYTHING
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import no_progress
from raymu.store.run import RunStore

FEATURES, SHARDS, REVOKED, MORE = 32, 100, 1_000, 10
SAMPLES, SMOKE_SAMPLES = (100_000, 1_000_000, 10_000_000), (20_000,)
BATCH = 500_000
"""Samples that are made up at once."""
_MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], "w").write(f"{usage.ru_utime + usage.ru_stime} {usage.ru_maxrss}")
sys.exit(status)
"""
"""A small process between this one and the command: a child begins with the peak memory of its parent."""
COMMANDS = {
    "train": "training",
    "revoke one": "revocation of one sample",
    "revoke many": "revocation of 1,000 samples, patched",
    "settle": "settlement",
    "verify": "verification",
    "status": "status",
}


def measure(options: Options) -> list[Row]:
    return [row for samples in (SMOKE_SAMPLES if options.is_smoke else SAMPLES) for row in _measure_run(samples)]


def _measure_run(samples: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_made_up(folder / "samples.parquet", samples, features=FEATURES, classes=2, distance=0.5, part=BATCH)
        settings, run = _settings(folder), str(folder / "run")
        ids = np.random.default_rng(1).permutation(samples)[: 1 + REVOKED + MORE]
        (folder / "ids.txt").write_text("\n".join(map(str, ids[1 : 1 + REVOKED])), encoding="utf-8")
        commands: list[tuple[str, Sequence[str]]] = [
            ("train", ["train", str(settings), run]),
            ("revoke one", ["revoke", run, "--id", str(ids[0]), "--strategy", "sisa"]),
            ("revoke many", ["revoke", run, "--ids-file", str(folder / "ids.txt"), "--strategy", "dpus"]),
            ("settle", ["settle", run]),
            ("verify", ["verify", run]),
            ("status", ["status", run]),
        ]
        for what, arguments in commands:
            yield {"samples": samples, "command": what, **_run(arguments)}
        size = sum(path.stat().st_size for path in (folder / "run").rglob("*") if path.is_file())
        yield {"samples": samples, "command": "files", "megabytes": size / 1e6}
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            grown = process.submit(_coordinator_bytes, run, ids[1 + REVOKED :].tolist()).result()
        yield {"samples": samples, "command": "coordinator", "peak_mb": grown / 1e6}


def _coordinator_bytes(location: str, ids: Sequence[int]) -> int:
    """Serve requests of one sample each, one after another. Returns by how much the peak memory of this process grows."""
    before = peak_bytes()
    store = RunStore(location, trust=EVERYTHING)
    asyncio.run(_serve(Coordinator(store, InstantFleet(store)), ids))
    return peak_bytes() - before


async def _serve(coordinator: Coordinator, ids: Sequence[int]) -> None:
    for number in ids:
        await coordinator.revoke([Revocation(ids=(number,), strategy="sisa")], no_progress)
    await coordinator.close()


def _settings(folder: Path) -> Path:
    tree = {
        "data": {"train": str(folder / "samples.parquet")},
        "model": {"name": "mlp", "hidden": [64]},
        "training": {"epochs": 1, "batch_size": 256},
        "partition": {"shards": SHARDS, "slices": 2},
        "cluster": {"fleet": "local"},
    }
    path = folder / "run.yaml"
    path.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
    return path


def _run(arguments: Sequence[str]) -> Row:
    """Run a command. Returns its time and memory."""
    command = [sys.executable, "-m", "raymu.cli", *arguments, "--json"]
    started_at, started = datetime.now(UTC), time.perf_counter()
    with tempfile.NamedTemporaryFile() as usage_file:
        output = subprocess.run(
            [sys.executable, "-c", _MEASURED, usage_file.name, *command],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=True,
        ).stdout
        cpu_s, peak_kb = map(float, Path(usage_file.name).read_text(encoding="utf-8").split())
    measured = {"seconds": time.perf_counter() - started, "cpu_s": cpu_s, "peak_mb": peak_kb * 1024 / 1e6}
    return {**measured, **_rewound(json.loads(output), started_at)}


def _rewound(output: Any, started_at: datetime) -> Row:
    """Return the time from the start of a command until its shards served states without the samples, if it revoked some."""
    if "rewound_at" not in output:
        return {}
    return {"rewound_s": (datetime.fromisoformat(output["rewound_at"]) - started_at).total_seconds()}


def summary(rows: pd.DataFrame) -> str:
    largest = rows[rows["samples"] == rows["samples"].max()].set_index("command")
    parts = [
        f"{what} {largest.loc[command, 'seconds']:.1f} s and {largest.loc[command, 'peak_mb']:.0f} MB"
        for command, what in COMMANDS.items()
    ]
    rewound = largest.loc["revoke one", "rewound_s"]
    grown = rows[rows["command"] == "coordinator"].sort_values("samples")
    sizes = ", ".join(f"{row.peak_mb:.0f} MB for {row.samples:,} samples" for row in grown.itertuples())
    return (
        f"{rows['samples'].max():,} samples: {', '.join(parts)}; a sample is rewound {rewound:.1f} s after the command "
        f"starts; the run is {largest.loc['files', 'megabytes']:,.0f} MB"
        + (f"; a coordinator takes above its start: {sizes}" if sizes else "")
    )


def draw(rows: pd.DataFrame) -> Figure:
    figure, (seconds, memory) = panels(1, 2, width=3.6)
    for axes, column in ((seconds, "cpu_s"), (memory, "peak_mb")):
        for index, (command, what) in enumerate(COMMANDS.items()):
            line = {"label": what, **look(command, index)}
            plot_spread(axes, rows[rows["command"] == command], "samples", column, **line)
        if column == "peak_mb" and "coordinator" in set(rows["command"]):
            line = {"label": "coordinator, above its start", **look("coordinator", len(COMMANDS))}
            plot_spread(axes, rows[rows["command"] == "coordinator"], "samples", column, **line)
        logarithmic_x(axes, sorted(rows["samples"].unique()))
        axes.set_xlabel("samples")
        logarithmic_y(axes)
    seconds.set_ylabel("CPU time, s")
    memory.set_ylabel("peak memory, MB")
    legend(figure, [seconds, memory])
    return figure


EXPERIMENT = Experiment(
    name="large_run", doc=__doc__, results=("large_run.csv",), summary=summary, figures={"large_run": draw}
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
