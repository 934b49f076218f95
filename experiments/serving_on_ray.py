"""What does Ray Serve cost a service of small models, and do more replicas answer more?

Method: three services of one run of 8 shards of MLPs (16-64-2) are up side by side on this machine: `raymu serve` in one
process, and on Ray Serve with one and with two replicas, each on a Ray of its own. They are asked in turn, round after round,
so that what else the machine does meets all of them: one client for predictions of one row and of 256 rows in JSON, then
eight clients at once for 256 rows each. Clients, services and replicas share two cores with other programs, to which Ray's
processes give way by default (niceness 15), and one process does not.

Conclusion: on two busy cores Ray Serve answers a third of the rows of one process, and a single row ten times later. Each
call passes through two more processes, the proxy and the ingress, which copy it and need the cores that the models need, and
a second replica has no core of its own. Ray Serve is for models that take longer than the way to them, and for machines with
more cores than one process uses.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import raymu
from experiments.harness import Experiment, document_parser, write_document
from experiments.http_client import HttpClient
from experiments.serving import BATCH, FEATURES, HIDDEN, service, spread, timed, until_ready
from raymu.config import Config

PLACES: dict[str, tuple[str, ...]] = {
    "one_process": ("--on", "local"),
    "ray_serve_1": ("--on", "ray", "--replicas", "1"),
    "ray_serve_2": ("--on", "ray", "--replicas", "2"),
}
"""Place of the service -> options of `raymu serve`."""
CALLERS = 8
SAMPLES = 2000
"""Samples that the run is trained on. Predictions take as long whatever was learned."""


class Place:
    """A service in one of the places, and what was measured of it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.row_s: list[float] = []
        self.batch_s: list[float] = []
        self.rows, self.seconds = 0, 0.0
        """What the clients got that came together."""

    async def warm_up(self, rows: npt.NDArray[np.float32]) -> None:
        """Have every replica load its models."""
        await until_ready(self._port)
        client = await HttpClient.connect(self._port)
        for _ in range(20):
            await self._predict(client, rows)
        client.close()

    async def measure(self, rows: npt.NDArray[np.float32], calls: int) -> None:
        """Ask for predictions: `calls` of one row, a tenth of them of a batch, and a tenth from each of the clients."""
        clients = [await HttpClient.connect(self._port) for _ in range(CALLERS)]  # what is idle for long is closed
        client, few = clients[0], max(2, calls // 10)
        self.row_s += [await self._predict(client, rows[:1]) for _ in range(calls)]
        self.batch_s += [await self._predict(client, rows) for _ in range(few)]

        async def predict_each(client: HttpClient) -> None:
            for _ in range(few):
                await self._predict(client, rows)

        started = time.perf_counter()
        await asyncio.gather(*map(predict_each, clients))
        self.seconds += time.perf_counter() - started
        for client in clients:
            client.close()
        self.rows += CALLERS * few * len(rows)

    async def _predict(self, client: HttpClient, rows: npt.NDArray[np.float32]) -> float:
        body = {"features": rows.tolist()}
        return await timed(lambda: client.post("/v1/predictions", body), 200)

    def result(self) -> dict[str, Any]:
        return {
            "one_row": {"predictions": len(self.row_s), **spread(self.row_s)},
            "batches": {**spread(self.batch_s), "rows_per_second": round(BATCH / float(np.median(self.batch_s)))},
            "together": {"clients": CALLERS, "rows_per_second": round(self.rows / self.seconds)},
        }


async def measure(ports: Mapping[str, int], rows: npt.NDArray[np.float32], rounds: int, calls: int) -> dict[str, Any]:
    places = {name: Place(port) for name, port in ports.items()}
    for place in places.values():
        await place.warm_up(rows)
    for _ in range(rounds):
        for place in places.values():
            await place.measure(rows, calls)
    return {name: place.result() for name, place in places.items()}


def summary(result: Mapping[str, Any]) -> str:
    rows_of_one, rows_of_many = (
        {name: place[part]["rows_per_second"] for name, place in result["places"].items()}
        for part in ("batches", "together")
    )
    texts = [
        f"{name.replace('_', ' ')}: a row in {place['one_row']['median_ms']:.1f} ms (99 of 100 within "
        f"{place['one_row']['p99_ms']:.1f} ms), batches of {BATCH} rows {rows_of_one[name]:,} rows a second of one client "
        f"({rows_of_one[name] / rows_of_one['one_process']:.2f}x) and {rows_of_many[name]:,} of "
        f"{place['together']['clients']} ({rows_of_many[name] / rows_of_many['one_process']:.2f}x)"
        for name, place in result["places"].items()
    ]
    return f"{'; '.join(texts)}; load of the machine {result['load_before']} before"


EXPERIMENT = Experiment(name="serving_on_ray", doc=__doc__, results=("serving_on_ray.json",), summary=summary)


def main() -> None:
    arguments = document_parser(EXPERIMENT).parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    os.environ |= {"RAYMU_TRUST": "all", "OMP_NUM_THREADS": "1", "RAY_ADDRESS": "local"}
    with tempfile.TemporaryDirectory() as name, ExitStack() as services:
        folder = Path(name)
        os.environ["RAYMU_ANCHORS"] = f"{name}/anchors"
        rows = np.random.default_rng(0).normal(size=(SAMPLES, FEATURES)).astype(np.float32)
        features = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), FEATURES)
        table = pa.table({"id": np.arange(SAMPLES), "features": features, "label": (rows[:, 0] > 0).astype(np.int64)})
        pq.write_table(table, folder / "all.parquet")
        tree = {
            "data": {"train": str(folder / "all.parquet")},
            "model": {"name": "mlp", "hidden": [HIDDEN]},
            "partition": {"shards": 8},
            "training": {"epochs": 4},
        }
        raymu.train(Config.parse(tree), str(folder / "run")).close()
        ports = {
            place: services.enter_context(service(folder / "run", folder, *options))[0]
            for place, options in PLACES.items()
        }
        rounds, calls = (1, 20) if arguments.smoke else (8, 60)
        places = asyncio.run(measure(ports, rows[:BATCH], rounds, calls))
    write_document(EXPERIMENT.results[0], {"load_before": round(load, 1), "places": places}, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
