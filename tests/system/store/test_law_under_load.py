"""The law behind storage that is slow, throttles and fails: the same bits, nothing lost or doubled, nothing left unpurged."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sql

import raymu
from raymu.core.records import SampleId
from raymu.core.verdict import Verdict
from raymu.errors import RaymuError
from raymu.service import snapshot as snapshots
from raymu.store.run import RunStore
from tests.support.examples import make_config, repaired_weights, write_samples
from tests.support.object_store_server import ObjectStoreServer
from tests.support.postgres_server import PostgresServer
from tests.support.unreliable_network import Network, http_proxy, tcp_proxy

pytestmark = pytest.mark.servers
SMALL: dict[str, dict[str, Any]] = {"training": {"epochs": 2}, "partition": {"shards": 2, "slices": 2}}
FEATURES = np.linspace(-1.0, 1.0, 24, dtype=np.float32).reshape(4, 6)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymu.store.files.retries.PAUSES_S", (0.01,) * 8)
    # The threads of the proxies draw no random numbers, so that no process has to be started for a training.
    monkeypatch.setattr("raymu.training.own_process.has_other_threads", lambda: False)


@dataclass(frozen=True, kw_only=True, slots=True)
class FarServers:
    """An S3 server and a PostgreSQL server behind two networks."""

    object_store: ObjectStoreServer
    postgres: PostgresServer
    networks: tuple[Network, Network]
    http_port: int
    tcp_port: int

    def location(self) -> str:
        return self.object_store.uri(f"{self.object_store.new_bucket()}/run", port=self.http_port)

    def journal(self) -> tuple[str, sql.URL]:
        """Return the URL of a new database behind the network, and the one beside the server."""
        near = self.postgres.new_database()
        far = sql.URL.create(
            "postgresql+psycopg", "raymu", host="127.0.0.1", port=self.tcp_port, database=near.database
        )
        return str(far), near


@contextmanager
def far_servers(object_store: ObjectStoreServer, postgres: PostgresServer, **faults: Any) -> Iterator[FarServers]:
    networks = Network(seed=3, **faults), Network(seed=4, **faults)
    with ExitStack() as proxies:
        yield FarServers(
            object_store=object_store,
            postgres=postgres,
            networks=networks,
            http_port=proxies.enter_context(http_proxy(object_store.port, networks[0])),
            tcp_port=proxies.enter_context(tcp_proxy(postgres.socket, networks[1])),
        )


def live_through(location: str, folder: Path, ids: Sequence[SampleId], *, journal: str | None) -> list[str]:
    """Train a run, extend it, revoke from it, patch it and settle it. Returns the ids of its requests."""
    config = make_config(folder / "all.parquet", **SMALL, cluster={"journal": journal})
    with raymu.train(config, location) as run:
        run.extend(folder / "more.parquet")
        receipts = [run.revoke([sample_id], strategy="sisa") for sample_id in ids[:-1]]
        receipts.append(run.revoke([ids[-1]], strategy="dpus"))
        run.settle()
    return [receipt.request_id for receipt in receipts]


def stored(location: str) -> set[str]:
    """Return the paths of all samples and states, which name their content: any that is left unpurged is one more."""
    return {path for path in RunStore(location).files.walk() if path.startswith(("samples/", "shards/"))}


def require_each_request_once(location: str, request_ids: Sequence[str]) -> None:
    with closing(RunStore(location).journal(is_read_only=True)) as journal:
        events = list(journal.events())
        numbers = [row.number for row in journal.receipt_rows()]
        assert not journal.has_unpurged_requests()
        assert journal.raw_ids_of_requests() == {}
    accepted = [request.request_id for event in events if event.kind == "accepted" for request in event.requests]
    purged = [request_id for event in events if event.kind == "purged" for request_id in event.request_ids]
    assert accepted == list(request_ids)
    assert set(purged) == set(request_ids)
    assert numbers == list(range(1, len(request_ids) + 2)), "the patched request has a second receipt"


@pytest.mark.parametrize(
    ("faults", "requests"),
    [
        ({"failing": 0.05}, 2),
        pytest.param({"failing": 0.05, "latency_s": 0.05}, 6, marks=pytest.mark.nightly),
        pytest.param({"failing": 0.05, "faults": ("busy",), "latency_s": 0.01}, 4, marks=pytest.mark.nightly),
        pytest.param({"failing": 0.05, "most_at_once": 4, "latency_s": 0.02}, 4, marks=pytest.mark.nightly),
    ],
    ids=["5% fail", "5% fail, slow", "throttled", "few at once"],
)
def test_a_life_far_away_is_that_at_home(
    tmp_path: Path, object_store: ObjectStoreServer, postgres: PostgresServer, faults: dict[str, Any], requests: int
) -> None:
    ids = write_samples(tmp_path / "all.parquet", samples=120)["id"].to_pylist()[: requests + 1]
    more = write_samples(tmp_path / "more.parquet", samples=40)
    others = pc.add(more["id"], 100_000)
    pq.write_table(more.set_column(0, "id", others), tmp_path / "more.parquet")
    near = str(tmp_path / "near")
    live_through(near, tmp_path, ids, journal=None)
    with far_servers(object_store, postgres, **faults) as servers:
        location, (journal, _) = servers.location(), servers.journal()
        request_ids = live_through(location, tmp_path, ids, journal=journal)
        require_each_request_once(location, request_ids)
        assert repaired_weights(location) == repaired_weights(near)
        assert stored(location) == stored(near)
        backup = servers.location()
        with raymu.open_run(location) as run:
            assert run.verify().verdict is Verdict.PASS
            answers = run.predict(FEATURES).tobytes()
            run.backup(backup)
        with raymu.restore(backup, servers.location(), journal=servers.journal()[0]) as restored:
            assert restored.predict(FEATURES).tobytes() == answers
            assert restored.verify().verdict is Verdict.PASS
        assert all(network.failed for network in servers.networks)
    with raymu.open_run(near) as run:
        assert run.predict(FEATURES).tobytes() == answers


@pytest.mark.parametrize(
    "failing",
    [
        1,
        pytest.param(0, marks=pytest.mark.nightly),  # the client of S3 waits between its own attempts
    ],
    ids=["database", "object store"],
)
def test_storage_that_stays_away_is_one_line_and_what_was_acknowledged_is_carried_out_later(
    tmp_path: Path,
    object_store: ObjectStoreServer,
    postgres: PostgresServer,
    failing: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = write_samples(tmp_path / "all.parquet", samples=120)["id"].to_pylist()
    monkeypatch.setattr("raymu.store.files.retries.PAUSES_S", (0.01,))
    with far_servers(object_store, postgres, faults=("reset",)) as servers:
        location, (journal, _) = servers.location(), servers.journal()
        config = make_config(tmp_path / "all.parquet", **SMALL, cluster={"journal": journal})
        raymu.train(config, location).close()
        network = servers.networks[failing]
        with raymu.open_run(location) as run:

            def fail(_progress: object) -> None:
                network.failing = 1.0  # once the request is committed and its shard trained

            with pytest.raises(RaymuError) as refusal:
                run.revoke(ids[:1], strategy="sisa", progress=fail)
            assert "\n" not in str(refusal.value)
            with pytest.raises(RaymuError) as refusal:
                raymu.open_run(location).status()
            assert "\n" not in str(refusal.value)
            network.failing = 0.0
        with raymu.open_run(location) as run:
            run.settle()
            [receipt] = run.receipts()
            assert receipt.is_exact
            assert run.verify(replay=None).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE snapshots SET payload = replace(payload, 'exact', 'exalt')",
        pytest.param("UPDATE snapshots SET sequence = sequence - 1", marks=pytest.mark.nightly),
        pytest.param("UPDATE snapshots SET seal = 'x'", marks=pytest.mark.nightly),
        pytest.param("DELETE FROM snapshots", marks=pytest.mark.nightly),
    ],
)
def test_a_damaged_snapshot_in_the_database_changes_no_bit(
    tmp_path: Path,
    object_store: ObjectStoreServer,
    postgres: PostgresServer,
    statement: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "EVENTS_PER_SNAPSHOT", 1)
    ids = write_samples(tmp_path / "all.parquet", samples=120)["id"].to_pylist()
    with far_servers(object_store, postgres, failing=0.02) as servers:
        journal, near = servers.journal()
        weights = {}
        for location, url, damage in (
            (servers.location(), journal, statement),
            (str(tmp_path / "calm"), None, None),
        ):
            config = make_config(tmp_path / "all.parquet", **SMALL, cluster={"journal": url})
            with raymu.train(config, location) as run:
                run.revoke(ids[:1], strategy="dpus")
            if damage:
                engine = sql.create_engine(near)
                with engine.begin() as connection:
                    assert connection.exec_driver_sql(damage).rowcount == 1
                engine.dispose()
            with raymu.open_run(location) as run:
                assert run.revoke(ids[1:2], strategy="sisa").is_exact
                run.settle()
                assert run.verify().verdict is Verdict.PASS
                assert all(receipt.is_exact for receipt in run.receipts())
                assert len(run.receipts()) == 2
            weights[url] = repaired_weights(location)
    assert weights[journal] == weights[None]
