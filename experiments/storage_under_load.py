"""What does it cost a run that its object store and its database are far away?

Method: a run of the letter data (8 shards of 5 slices, in one process) is kept in an S3 server and a PostgreSQL server,
once beside them, and once behind proxies that hold back each call and each new connection by the same time. Calls over
several connections wait side by side. Servers and proxies are in a process of their own. Counted are the requests to S3, and
the round trips to PostgreSQL: what is sent at once and answered at once is one. A first revocation, verification, status and
a first prediction open the run anew. Of further revocations the median is shown. An observer beside the database sees when a
request is acknowledged, and when the first generation without its sample is there. The load of the machine is kept too.

Conclusion: the seconds that distance adds are those of round trips that follow each other. Requests that do not need each
other are made side by side.
"""

import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import pyarrow.parquet as pq
import sqlalchemy as sql

import raymu
from experiments.commands import load, settings_of
from experiments.harness import Experiment, document_parser, write_document
from experiments.markdown import table
from experiments.setups import BUNDLED, BUNDLED_NAME, data_file
from raymu.config import Config
from tests.support.object_store_server import CREDENTIALS, ObjectStoreServer
from tests.support.postgres_server import PostgresServer
from tests.support.unreliable_network import Network, http_proxy, tcp_proxy

LATENCY_S = 0.05
FURTHER = 5
"""Revocations on an open run."""
OBSERVED_EACH_S = 0.005


class Observer:
    """Sees the events of a journal as they are committed, over a connection without a proxy."""

    def __init__(self, url: sql.URL) -> None:
        self._engine = sql.create_engine(url, isolation_level="AUTOCOMMIT")
        self.seen: list[tuple[float, str]] = []
        """Time and kind of each event."""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._engine.dispose()

    def _look(self) -> None:
        query = sql.text("SELECT kind FROM events ORDER BY sequence OFFSET :known")
        while not self._is_over.wait(OBSERVED_EACH_S):
            with suppress(sql.exc.ProgrammingError), self._engine.connect() as connection:  # there is no table at first
                kinds = connection.execute(query, {"known": len(self.seen)}).scalars().all()
                self.seen += [(time.time(), kind) for kind in kinds]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run is kept, and what passes on the way there."""

    location: str
    journal: str
    connection: Connection = field(repr=False)
    """To the process of the servers."""

    def take(self) -> tuple[dict[str, int], dict[str, int], list[tuple[float, str]]]:
        """Return the calls since the last question, to S3 and to PostgreSQL, and all events so far."""
        self.connection.send("take")
        taken: tuple[dict[str, int], dict[str, int], list[tuple[float, str]]] = self.connection.recv()
        return taken


def serve(connection: Connection, latency_s: float) -> None:
    """Run the servers and the proxies, and answer questions, until the other side closes."""
    networks = Network(latency_s=latency_s), Network(latency_s=latency_s)
    store, database = ObjectStoreServer(), PostgresServer()
    try:
        url = database.new_database()
        with (
            closing(Observer(url)) as observer,
            http_proxy(store.port, networks[0]) as http,
            tcp_proxy(database.socket, networks[1]) as tcp,
        ):
            journal = sql.URL.create("postgresql+psycopg", "raymu", host="127.0.0.1", port=tcp, database=url.database)
            connection.send((store.uri(f"{store.new_bucket()}/run", port=http), str(journal)))
            with suppress(EOFError):
                while connection.recv() == "take":
                    connection.send((*(dict(network.take_calls()) for network in networks), list(observer.seen)))
    finally:
        database.stop()
        store.stop()


@contextmanager
def place(latency_s: float) -> Iterator[Place]:
    """Start the servers in a process of their own."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=serve, args=(there, latency_s))
    process.start()
    there.close()
    try:
        location, journal = here.recv()
        yield Place(location=location, journal=journal, connection=here)
    finally:
        here.close()
        process.join()


class Phases:
    """Times phases of a run, and counts their calls."""

    def __init__(self, at: Place) -> None:
        self._at = at
        self.rows: dict[str, dict[str, Any]] = {}

    def measure(self, name: str, work: Callable[[], Any]) -> Any:
        """Do something. Its seconds and calls are those of this phase."""
        self._at.take()
        began = time.time()
        result = work()
        done_s = time.time() - began
        time.sleep(4 * OBSERVED_EACH_S)
        requests, trips, events = self._at.take()
        since = [(at - began, kind) for at, kind in events if at >= began]
        row: dict[str, Any] = {
            "seconds": round(done_s, 3),
            "s3": dict(sorted(requests.items())),
            "s3_requests": sum(requests.values()) - requests.get("connect", 0),
            "postgresql_trips": trips.get("query", 0),
            "postgresql_connections": trips.get("connect", 0),
        }
        for stage, kind in (("acknowledged_s", "accepted"), ("rewound_s", "published")):
            if kind in (seen for _, seen in since) and "accepted" in (seen for _, seen in since):
                row[stage] = round(next(at for at, seen in since if seen == kind), 3)
        self.rows[name] = row
        return result


def median_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each number."""
    return {
        key: dict(sum((Counter(row[key]) for row in rows), Counter()))
        if key == "s3"
        else median(row[key] for row in rows)
        for key in rows[0]
    }


def measure(latency_s: float, *, is_smoke: bool) -> dict[str, dict[str, Any]]:
    """Return what each phase took at a distance: phase -> seconds, requests and trips."""
    rows = pq.read_table(data_file(BUNDLED_NAME, "test", BUNDLED)).slice(0, 100)
    with place(latency_s) as at:
        phases = Phases(at)
        tree = settings_of(BUNDLED_NAME, BUNDLED, epochs=2 if is_smoke else 12, fleet="local")
        tree["cluster"]["journal"] = at.journal
        phases.measure("train", lambda: raymu.train(Config.parse(tree), at.location).close())

        run = raymu.open_run(at.location)
        phases.measure("first revocation", lambda: run.revoke([17]))
        further = [f"further {number}" for number in range(1 if is_smoke else FURTHER)]
        for number, name in enumerate(further):
            phases.measure(name, lambda number=number: run.revoke([101 + 57 * number]))  # type: ignore[misc]
        phases.rows["further revocation"] = median_row([phases.rows.pop(name) for name in further])
        phases.measure("patch", lambda: run.revoke([1001], strategy="hs", boundary=0.0))
        phases.measure("settle", run.settle)
        phases.measure("close", run.close)
        phases.measure("verify", lambda: raymu.open_run(at.location).verify())
        phases.measure("status", lambda: raymu.open_run(at.location).status())
        reader = raymu.open_run(at.location)
        phases.measure("first prediction", lambda: reader.predict(rows))
        phases.measure("further prediction", lambda: reader.predict(rows))
        reader.close()
    return phases.rows


def storage_table(result: Mapping[str, Any]) -> str:
    """Write the table of phases, beside the servers and far from them."""
    near, far = result["near"], result["far"]
    lines = [
        [
            phase,
            str(row["s3_requests"]),
            str(row["postgresql_trips"]),
            f"{near[phase]['seconds']:.2f} s",
            f"{row['seconds']:.2f} s",
            *(f"{row[stage]:.2f} s" if stage in row else "" for stage in ("acknowledged_s", "rewound_s")),
        ]
        for phase, row in far.items()
    ]
    distance = f"{1000 * result['latency_s']:.0f} ms away"
    heads = ["phase", "requests to S3", "trips to PostgreSQL", "beside them", distance, "acknowledged", "rewound"]
    return table(heads, lines)


def summary(result: Mapping[str, Any]) -> str:
    near, far = result["near"], result["far"]
    cells = ", ".join(
        f"{phase} {near[phase]['seconds']:.1f} and {far[phase]['seconds']:.1f} s"
        for phase in ("train", "first revocation", "further revocation", "settle", "verify", "status")
    )
    revocation = far["further revocation"]
    return (
        f"beside the servers and {1000 * result['latency_s']:.0f} ms away: {cells}; a further revocation is acknowledged "
        f"after {revocation['acknowledged_s']:.1f} s and rewound after {revocation['rewound_s']:.1f} s, with "
        f"{revocation['s3_requests']:.0f} requests to S3 and {revocation['postgresql_trips']:.0f} trips to PostgreSQL; "
        f"load of the machine {result['load_before'][0]:.1f} before and {result['load_after'][0]:.1f} after"
    )


EXPERIMENT = Experiment(
    name="storage_under_load",
    doc=__doc__,
    results=("storage_under_load.json",),
    summary=summary,
    tables={"storage": storage_table},
)


def main() -> None:
    arguments = document_parser(EXPERIMENT).parse_args()
    os.environ.update({**CREDENTIALS, "RAYMU_TRUST": "all", "OMP_NUM_THREADS": "1"})
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = os.environ["XDG_CONFIG_HOME"] = folder  # what a user's processes keep of runs
        before = load()
        near, far = (measure(latency_s, is_smoke=arguments.smoke) for latency_s in (0.0, LATENCY_S))
        result = {"load_before": before, "load_after": load(), "latency_s": LATENCY_S, "near": near, "far": far}
    write_document(EXPERIMENT.results[0], json.loads(json.dumps(result)), is_smoke=arguments.smoke)
    print(summary(result), file=sys.stderr)


if __name__ == "__main__":
    main()
