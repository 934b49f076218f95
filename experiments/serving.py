"""How fast does the service acknowledge deletions and answer predictions?

Method: `raymu serve` in a process of its own, on a run of 8 shards of MLPs (16-64-2) on this machine's disk, with a journal
in SQLite and one thread. One client deletes one sample after the other, ten milliseconds apart, so that the service carries
earlier deletions out meanwhile. Then it asks for predictions of one row, and of 256 rows, in JSON and in Arrow, and for those
of 64 batches of 256 rows in one Arrow stream. The rows of a second are compared with those of the modules, stacked and called
by hand in one process. Then 32 clients delete samples as fast as they are answered. The clients share the machine's cores
with the service.

Conclusion: predictions of one row take a few milliseconds over HTTP, most of them outside the model. A deletion is
acknowledged after one commit. Its repair runs in a process of its own, which shares the cores: many clients at once are bound
by the work around the commits. In Arrow, batches cost a part of what they cost in JSON, and streams of many batches come
nearer to the modules by hand.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import raymu
from experiments.harness import Experiment, document_parser, write_document
from experiments.http_client import HttpClient
from experiments.prediction import ways
from raymu.config import Config
from raymu.web.arrow_stream import MEDIA_TYPE

FEATURES = 16
BATCH = 256
STREAMS = {"arrow": 1, "arrow_of_many": 64}
"""Record batches of an Arrow stream."""
CLIENTS = 32
HIDDEN = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much is measured."""

    samples: int
    singles: int
    """Deletions of one client."""
    predictions: int
    """Predictions of one row."""
    each: int
    """Deletions of each of the clients that come together."""


FULL = Sizes(samples=40_000, singles=300, predictions=1000, each=100)
SMOKE = Sizes(samples=20_000, singles=20, predictions=20, each=5)


@contextmanager
def service(location: Path, folder: Path, *options: str) -> Iterator[tuple[int, psutil.Process]]:
    """Serve a run, and return the port and the process."""
    command = [sys.executable, "-m", "raymu.cli", "serve", str(location), "--port", "0", *options]
    command += ["--tokens", str(folder / "tokens.json"), "--access-log", str(folder / "access.log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            ports = re.findall(r":(\d+) ", process.stdout.readline())
            yield int(ports[0]), psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile of times, in milliseconds."""
    return {
        "median_ms": round(1000 * float(np.median(seconds)), 2),
        "p99_ms": round(1000 * float(np.quantile(seconds, 0.99)), 2),
    }


async def timed(call: Callable[[], Awaitable[Any]], status: int) -> float:
    started = time.perf_counter()
    answer = await call()
    seconds = time.perf_counter() - started
    assert answer.status == status, answer
    return seconds


async def until_ready(port: int) -> None:
    """Wait until the service has opened its run."""
    while True:
        client = await HttpClient.connect(port)
        answer = await client.get("/readyz")
        client.close()
        if answer.status == 200:
            return
        await asyncio.sleep(0.1)


async def measure(
    port: int, process: psutil.Process, ids: Iterator[int], rows: npt.NDArray[np.float32], sizes: Sizes
) -> dict[str, Any]:
    client = await HttpClient.connect(port)
    await until_ready(port)

    async def delete(through: HttpClient) -> float:
        body = {"ids": [next(ids)]}
        return await timed(lambda: through.post("/v1/requests", body), 202)

    async def predict(through: HttpClient, count: int) -> float:
        body = {"features": rows[:count].tolist()}
        return await timed(lambda: through.post("/v1/predictions", body), 200)

    first = await delete(client)
    singles = []
    for _ in range(sizes.singles):
        singles.append(await delete(client))
        await asyncio.sleep(0.01)
    client.close()
    await asyncio.sleep(10)  # what was deleted is carried out
    client = await HttpClient.connect(port)
    row_s = [await predict(client, 1) for _ in range(sizes.predictions)][5:]
    batch_s = [await predict(client, BATCH) for _ in range(max(10, sizes.predictions // 10))][5:]
    arrow = {name: await predict_streams(client, rows, batches, sizes) for name, batches in STREAMS.items()}
    clients = [await HttpClient.connect(port) for _ in range(CLIENTS)]
    together: list[float] = []

    async def delete_each(through: HttpClient) -> None:
        for _ in range(sizes.each):
            together.append(await delete(through))

    before, started = process.cpu_times(), time.perf_counter()
    await asyncio.gather(*map(delete_each, clients))
    seconds, after = time.perf_counter() - started, process.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    return {
        "first_deletion_ms": round(1000 * first, 1),
        "one_client": {"deletions": sizes.singles, **spread(singles)},
        "one_row": {"predictions": len(row_s), **spread(row_s)},
        "batches": {"rows": BATCH, **spread(batch_s), "rows_per_second": round(BATCH / float(np.median(batch_s)))},
        **arrow,
        "many_clients": {
            "clients": CLIENTS,
            "deletions": len(together),
            "per_second": round(len(together) / seconds),
            "server_cpu_ms_each": round(1000 * cpu_s / len(together), 2),
            **spread(together),
        },
    }


async def predict_streams(
    client: HttpClient, rows: npt.NDArray[np.float32], batches: int, sizes: Sizes
) -> dict[str, Any]:
    """Send Arrow streams of some batches, one after the other."""
    count = BATCH * batches
    table = pa.table({"features": pa.FixedSizeListArray.from_arrays(pa.array(rows[:count].ravel()), FEATURES)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH)
    body, seconds = sink.getvalue().to_pybytes(), []
    for _ in range(max(15, sizes.predictions // (4 * batches))):
        started = time.perf_counter()
        answer = await client.post_bytes("/v1/predictions", body, kind=MEDIA_TYPE)
        seconds.append(time.perf_counter() - started)
        assert pa.ipc.open_stream(answer).read_all().num_rows == count
    seconds = seconds[5:]
    return {"rows": count, **spread(seconds), "rows_per_second": round(count / float(np.median(seconds)))}


def rows_by_hand(run: raymu.Run, rows: npt.NDArray[np.float32], repeats: int) -> float:
    """Return how many rows a second the run's modules predict when they are stacked and called by hand, batch by batch."""
    fastest = []
    for way, predict in ways(run).items():
        if way in ("vmap", "bmm"):
            seconds = []
            for _ in range(repeats):
                started = time.perf_counter()
                predict(rows[:BATCH])
                seconds.append(time.perf_counter() - started)
            fastest.append(float(np.median(seconds)))
    return BATCH / min(fastest)


def summary(result: Mapping[str, Any]) -> str:
    one, many, row, batches = (result[name] for name in ("one_client", "many_clients", "one_row", "batches"))
    return (
        f"one client: a deletion is acknowledged in {one['median_ms']:.1f} ms (99 of 100 within {one['p99_ms']:.1f} ms) "
        f"while earlier ones are carried out; {many['clients']} clients: {many['per_second']:,} a second, "
        f"{many['server_cpu_ms_each']:.1f} ms of CPU time each with all that follows; a row is predicted in "
        f"{row['median_ms']:.1f} ms (99 of 100 within {row['p99_ms']:.1f} ms), batches of {batches['rows']} rows "
        f"{batches['rows_per_second']:,} rows a second in JSON, {batches['of_by_hand']:.3f}x the stacked modules by hand, "
        f"{result['arrow']['of_by_hand']:.3f}x in Arrow, and {result['arrow_of_many']['of_by_hand']:.3f}x in streams of "
        f"{STREAMS['arrow_of_many']} batches; load of "
        f"the machine {result['load_before']} before"
    )


EXPERIMENT = Experiment(name="serving", doc=__doc__, results=("serving.json",), summary=summary)


def main() -> None:
    arguments = document_parser(EXPERIMENT).parse_args()
    sizes = SMOKE if arguments.smoke else FULL
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    os.environ |= {"RAYMU_TRUST": "all", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["RAYMU_ANCHORS"] = f"{name}/anchors"
        rows = np.random.default_rng(0).normal(size=(sizes.samples, FEATURES)).astype(np.float32)
        ids = np.arange(sizes.samples) + 1_000_000
        features = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), FEATURES)
        table = pa.table({"id": ids, "features": features, "label": (rows[:, 0] > 0).astype(np.int64)})
        pq.write_table(table, folder / "all.parquet")
        tree = {
            "data": {"train": str(folder / "all.parquet")},
            "model": {"name": "mlp", "hidden": [HIDDEN]},
            "partition": {"shards": 8, "slices": 4},
            "training": {"epochs": 4},
            "cluster": {"fleet": "local"},
        }
        with raymu.train(Config.parse(tree), str(folder / "run")) as run:
            by_hand = rows_by_hand(run, rows, 10 if arguments.smoke else 200)
        with service(folder / "run", folder) as (port, process):
            result = asyncio.run(measure(port, process, iter(ids.tolist()), rows, sizes))
    for name in ("batches", *STREAMS):
        result[name]["of_by_hand"] = round(result[name]["rows_per_second"] / by_hand, 3)
    write_document(EXPERIMENT.results[0], {"load_before": round(load, 1), **result}, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
