"""How soon after an event does a webhook have its notice, and does a receiver that is slow or down delay others?

Method: two services of like runs of 8 shards of MLPs (16-64-2), with journals in SQLite, on this machine. One has a webhook
alone. The other has four: beside the same, one that takes two seconds for each answer, one that takes connections and never
answers, and one whose host is down, for which a hundred thousand notices wait. The receivers are real servers in processes of
their own, which check the signature of each notice and keep connections. Samples are deleted one after the other, after
random pauses of two fifths of a second in the mean, at each service in turn, so that what else the machine does meets both.
Then 32 clients delete samples as fast as they are answered, at the service with one webhook. What is measured is the time
from an event's own time, which its notice names, until the notice has arrived. Clients, receivers and services share the
machine's cores.

Conclusion: a notice waits for the next look at the journal, and hardly for anything else. It is the same whatever becomes of
other receivers, and however much waits for them. While many clients delete samples as fast as they can, notices wait for
their turn: a receiver is sent one after the other, and fewer than arise.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import raymu
from experiments.harness import Experiment, document_parser, write_document
from experiments.http_client import HttpClient
from experiments.serving import CLIENTS, FEATURES, HIDDEN, service, spread, until_ready
from raymu.config import Config
from raymu.store.journal.event_chain import ChainHead
from raymu.web.outbox import Cursor, Message, Outbox

SECRET = b"0123456789abcdef0123456789abcdef"
KINDS = ("accepted", "rewound", "settled")
SLOW_S = 2.0
"""How long the slow receiver takes for an answer."""
BETWEEN_S = 0.4
"""Mean time between two deletions at one service."""
SILENT_S = 60.0
"""Longer than anybody waits for an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much is measured."""

    samples: int
    singles: int
    """Deletions at each service, one after the other."""
    each: int
    """Deletions of each of the clients that come together."""
    waiting: int
    """Notices that wait for the host that is down."""


FULL = Sizes(samples=20_000, singles=150, each=30, waiting=100_000)
SMOKE = Sizes(samples=5_000, singles=4, each=2, waiting=1000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A notice that has arrived."""

    kind: str
    waited_s: float
    """Seconds from the event until it was there."""
    at: float
    """When it was there, in seconds since 1970."""


class Receiver:
    """A webhook's receiver, in a process of its own."""

    def __init__(self, port: int, connection: Connection) -> None:
        self.port, self._connection = port, connection

    def take(self) -> list[Arrival]:
        """Return what has arrived since the last time. Raises ValueError if a signature was wrong."""
        self._connection.send("take")
        arrivals, refused = self._connection.recv()
        if refused:
            raise ValueError(f"{refused} notices had a wrong signature")
        return list(arrivals)

    def wait_for(self, count: int, kind: str, *, seconds: float = 300) -> list[Arrival]:
        """Return what arrives until as many notices of a kind are there. Raises TimeoutError."""
        arrivals: list[Arrival] = []
        until = time.monotonic() + seconds
        while sum(arrival.kind == kind for arrival in arrivals) < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{len(arrivals)} notices arrived")
            time.sleep(0.2)
            arrivals += self.take()
        return arrivals


@contextmanager
def receiving(delay_s: float = 0.0) -> Iterator[Receiver]:
    """Receive webhooks on a free port. delay_s: how long each answer takes"""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_receive, args=(there, delay_s), daemon=True)
    process.start()
    try:
        yield Receiver(here.recv(), here)
    finally:
        here.send("end")
        process.join(10)
        process.kill()


def _receive(connection: Connection, delay_s: float) -> None:
    """Serve until the other process says that it is enough."""
    arrivals: list[Arrival] = []
    refused, lock = [0], Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # the connection is kept for further calls

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            at = time.time()
            is_sound = _is_signed(self.headers, body)
            notice = json.loads(body)
            began = datetime.fromisoformat(notice["timestamp"]).timestamp()
            with lock:
                arrivals.append(Arrival(kind=notice["type"].removeprefix("request."), waited_s=at - began, at=at))
                refused[0] += not is_sound
            time.sleep(delay_s)
            self.send_response(204 if is_sound else 401)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_args: None  # type: ignore[method-assign]  # a connection that is left prints otherwise
    Thread(target=server.serve_forever, daemon=True).start()
    connection.send(server.server_address[1])
    while connection.recv() == "take":
        with lock:
            connection.send((list(arrivals), refused[0]))
            arrivals.clear()
    server.shutdown()


def _is_signed(headers: Any, body: bytes) -> bool:
    """Return whether a notice is signed as Standard Webhooks asks."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signature = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    is_young = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return is_young and any(
        hmac.compare_digest(each, f"v1,{signature}") for each in headers["webhook-signature"].split()
    )


def write_settings(folder: Path, ports: Mapping[str, int]) -> Path:
    """Write the settings of a service. ports: name of a webhook -> port of its receiver"""
    folder.mkdir()
    (folder / "secret").write_text(f"whsec_{base64.b64encode(SECRET).decode()}")
    hooks = [
        {
            "name": name,
            "url": f"http://127.0.0.1:{port}/",
            "secret_file": "secret",
            "private_addresses": True,
            "events": list(KINDS),
        }
        for name, port in ports.items()
    ]
    path = folder / "protocols.yaml"
    path.write_text(json.dumps({"state": "state.sqlite", "webhooks": hooks}))
    return path


def fill_outbox(path: Path, name: str, port: int, count: int) -> None:
    """Have notices wait for a webhook."""
    outbox, now = Outbox(path), time.time()
    url, body = f"http://127.0.0.1:{port}/", json.dumps({"data": "x" * 400})
    messages = [
        Message(id=f"msg_{number}", target=f"webhook {name}", url=url, body=body, made_at=now)
        for number in range(count)
    ]
    outbox.advance("another run", Cursor(head=ChainHead(sequence=1, seal="s"), receipts=0), messages)
    outbox.close()


def of_kinds(arrivals: Sequence[Arrival]) -> dict[str, Any]:
    waited = {kind: [each.waited_s for each in arrivals if each.kind == kind] for kind in KINDS}
    return {kind: {"notices": len(seconds), **spread(seconds)} for kind, seconds in waited.items()}


async def measure_in_turn(ports: Sequence[int], ids: Iterator[int], count: int) -> None:
    """Delete one sample after the other, at each service in turn."""
    for port in ports:
        await until_ready(port)
    clients, draws = [await HttpClient.connect(port) for port in ports], np.random.default_rng(0)
    for _ in range(count):
        sample_id = next(ids)
        for client in clients:
            await delete(client, sample_id)
            await asyncio.sleep(
                draws.uniform(0.0, 2.0) * BETWEEN_S / len(clients)
            )  # in step with no look at the journal
    for client in clients:
        client.close()


async def measure_together(port: int, ids: Iterator[int], each: int) -> float:
    """Delete samples from many clients at once. Returns how many a second."""
    clients = [await HttpClient.connect(port) for _ in range(CLIENTS)]

    async def delete_each(client: HttpClient) -> None:
        for _ in range(each):
            await delete(client, next(ids))

    started = time.perf_counter()
    await asyncio.gather(*map(delete_each, clients))
    return CLIENTS * each / (time.perf_counter() - started)


async def delete(client: HttpClient, sample_id: int) -> None:
    answer = await client.post("/v1/requests", {"ids": [sample_id], "strategy": "sisa"})
    assert answer.status == 202, answer


def summary(result: Mapping[str, Any]) -> str:
    def said(part: str) -> str:
        return ", ".join(
            f"{kind} {result[part][kind]['median_ms']:.0f} ms ({result[part][kind]['p99_ms']:.0f})" for kind in KINDS
        )

    together = result["many_clients"]
    return (
        f"median, and in brackets 99 of 100 within: one webhook {said('alone')}; beside one that is slow, one that never "
        f"answers and one that is down with {result['waiting']:,} notices waiting {said('beside_others')}; while "
        f"{together['clients']} clients delete {together['deletions_per_second']:,} samples a second {said('many_clients')}, "
        f"{together['notices_per_second']:,} notices a second; load of the machine {result['load_before']} before"
    )


EXPERIMENT = Experiment(name="webhooks", doc=__doc__, results=("webhooks.json",), summary=summary)


def train(folder: Path, samples: int) -> list[int]:
    """Train two like runs, and return the ids of their samples."""
    rows = np.random.default_rng(0).normal(size=(samples, FEATURES)).astype(np.float32)
    ids = np.arange(samples) + 1_000_000
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
    for name in ("alone", "beside_others"):
        raymu.train(Config.parse(tree), str(folder / name)).close()
    return [int(each) for each in ids]


def measure(folder: Path, sizes: Sizes) -> dict[str, Any]:
    ids = iter(train(folder, sizes.samples))
    with ExitStack() as stack:
        receivers = {name: stack.enter_context(receiving()) for name in ("alone", "beside_others")}
        slow, silent = (stack.enter_context(receiving(seconds)) for seconds in (SLOW_S, SILENT_S))
        with socket.create_server(("127.0.0.1", 0)) as closed:
            down = closed.getsockname()[1]
        others = {"slow": slow.port, "silent": silent.port, "down": down}
        hooks = {name: {"own": receiver.port} for name, receiver in receivers.items()}
        hooks["beside_others"] |= others
        settings = {name: write_settings(folder / f"settings of {name}", ports) for name, ports in hooks.items()}
        fill_outbox(settings["beside_others"].with_name("state.sqlite"), "down", down, sizes.waiting)
        ports = []
        for name, path in settings.items():
            (folder / f"files of {name}").mkdir()
            options = "--protocols", str(path)
            ports.append(stack.enter_context(service(folder / name, folder / f"files of {name}", *options))[0])
        asyncio.run(measure_in_turn(ports, ids, 2))  # what only the first deletions wait for is left out
        for receiver in receivers.values():
            receiver.wait_for(2, "settled")
        asyncio.run(measure_in_turn(ports, ids, sizes.singles))
        result: dict[str, Any] = {
            name: of_kinds(receiver.wait_for(sizes.singles, "settled")) for name, receiver in receivers.items()
        }
        heard = len(slow.take()), len(silent.take())
        assert all(heard), "the others are called too"
        per_second = asyncio.run(measure_together(ports[0], ids, sizes.each))
        arrivals = receivers["alone"].wait_for(CLIENTS * sizes.each, "settled")
    times = sorted(arrival.at for arrival in arrivals)
    together = {
        "clients": CLIENTS,
        "deletions": CLIENTS * sizes.each,
        "deletions_per_second": round(per_second),
        "notices_per_second": round(len(times) / (times[-1] - times[0])),
        **of_kinds(arrivals),
    }
    return {"waiting": sizes.waiting, **result, "many_clients": together}


def main() -> None:
    arguments = document_parser(EXPERIMENT).parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    os.environ |= {"RAYMU_TRUST": "all", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name:
        os.environ["RAYMU_ANCHORS"] = f"{name}/anchors"
        result = measure(Path(name), SMOKE if arguments.smoke else FULL)
    write_document(EXPERIMENT.results[0], {"load_before": round(load, 1), **result}, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
