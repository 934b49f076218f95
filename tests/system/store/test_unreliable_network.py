"""A run whose object store and database are slow, busy and fail: nothing acknowledged is lost or doubled."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from raymu.config import Config
from raymu.core.verdict import Verdict
from raymu.errors import ConnectionLost, CoordinatorSuperseded, ShardRepairFailed
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.store.run import RunStore
from tests.support.examples import make_config, repaired_weights, revoke, settle, train_run, write_samples
from tests.support.journals import ACCEPTED, SETTLE, begin, open_journal
from tests.support.object_store_server import ObjectStoreServer
from tests.support.postgres_server import PostgresServer
from tests.support.scripted_fleet import ScriptedFleet
from tests.support.unreliable_network import FAULTS, Fault, Network, http_proxy, tcp_proxy

pytestmark = pytest.mark.servers
SMALL: dict[str, dict[str, Any]] = {"training": {"epochs": 2}, "partition": {"shards": 2, "slices": 2}}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymu.store.files.retries.PAUSES_S", (0.01,) * 8)


@contextmanager
def journal_behind(network: Network, postgres: PostgresServer) -> Iterator[sql.URL]:
    """Yield the URL of a new database behind a network."""
    database = postgres.new_database()
    with tcp_proxy(postgres.socket, network) as port:
        yield sql.URL.create("postgresql+psycopg", "raymu", host="127.0.0.1", port=port, database=database.database)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_event_is_written_once_whatever_happens_to_its_calls(postgres: PostgresServer, fault: Fault) -> None:
    network = Network(faults=(fault,))
    with journal_behind(network, postgres) as url, closing(begin(url)) as journal:
        network.failing = 0.1
        for _ in range(8):
            journal.append(SETTLE)
            journal.require_current()
        assert list(journal.events()) == [SETTLE] * 8
    assert network.failed[fault]


def test_a_database_that_is_gone_is_one_line_of_error(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network()
    monkeypatch.setattr("raymu.store.files.retries.PAUSES_S", (0.01, 0.01))
    with journal_behind(network, postgres) as url, closing(begin(url)) as journal:
        network.failing = 1.0
        with pytest.raises(ConnectionLost) as refusal:
            journal.append(SETTLE)
        assert "\n" not in str(refusal.value)
        network.failing = 0.0
        journal.append(SETTLE)
        assert list(journal.events()) == [SETTLE]


def test_a_commit_is_one_round_trip_and_two_if_files_are_written_under_its_lock(postgres: PostgresServer) -> None:
    network = Network(latency_s=0.02)  # the answer comes after all that is sent at once
    with journal_behind(network, postgres) as url, closing(begin(url)) as journal:
        network.take_calls()
        journal.accept(ACCEPTED, forget={"r": {0: [17]}}, hashes={"r": ["z"]})
        assert network.take_calls() == {"query": 1}
        with journal.writing() as transaction:
            assert network.take_calls() == {"query": 1}
            transaction.add(*[SETTLE] * 3)
        assert network.take_calls() == {"query": 1}
        journal.require_current()
        assert network.take_calls() == {"query": 1}
        assert len(list(journal.events())) == 4


def test_a_superseded_coordinator_writes_nothing_in_its_one_round_trip(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with closing(begin(url)) as journal, closing(open_journal(url)) as successor:
        journal.append(SETTLE)
        successor.take_over()
        for write in (partial(journal.append, SETTLE), journal.require_current):
            with pytest.raises(CoordinatorSuperseded):
                write()
        assert list(successor.events()) == [SETTLE]


@pytest.mark.parametrize(
    ("latency_s", "failing", "requests"),
    [(0.0, 0.05, 1), pytest.param(0.05, 0.05, 10, marks=pytest.mark.nightly)],
)
def test_a_run_behind_an_unreliable_network_is_that_of_a_calm_one(
    tmp_path: Path,
    object_store: ObjectStoreServer,
    postgres: PostgresServer,
    latency_s: float,
    failing: float,
    requests: int,
) -> None:
    ids = write_samples(tmp_path / "all.parquet", samples=120)["id"].to_pylist()
    revoked = ids[: requests + 1]
    networks = [Network(latency_s=latency_s, failing=failing, most_at_once=12, seed=seed) for seed in (1, 2)]
    bucket = object_store.new_bucket()
    with http_proxy(object_store.port, networks[0]) as port, journal_behind(networks[1], postgres) as url:
        location = object_store.uri(f"{bucket}/run", port=port)
        config = network_config(tmp_path, str(url))
        coordinator = train_run(config, location)
        for sample_id in revoked[:-1]:
            receipt = revoke(coordinator, [sample_id], strategy="sisa")
            assert receipt.request_id
        fallen = Coordinator(RunStore(location), ScriptedFleet(RunStore(location), fail_after=1))
        with pytest.raises(ShardRepairFailed):
            revoke(fallen, revoked[-1:], strategy="sisa")
        successor = Coordinator(RunStore(location), LocalFleet(RunStore(location)))
        settle(successor)
        asyncio.run(successor.close())
        for superseded in (coordinator, fallen):
            superseded._session.journal.close()
        store = RunStore(location)
        assert verify(store, no_progress).verdict is Verdict.PASS
        with closing(store.journal(is_read_only=True)) as journal:
            numbers = [row.number for row in journal.receipt_rows()]
            events = list(journal.events())
        assert numbers == list(range(1, requests + 2))
        accepted = [request.request_id for event in events if event.kind == "accepted" for request in event.requests]
        purged = [request_id for event in events if event.kind == "purged" for request_id in event.request_ids]
        assert len(set(accepted)) == len(accepted) == requests + 1
        assert sorted(purged) == sorted(accepted)
        weights = repaired_weights(location)
    if failing:
        assert all(network.failed for network in networks)
    calm = train_run(make_config(tmp_path / "all.parquet", **SMALL), tmp_path / "calm", exclude=revoked)
    asyncio.run(calm.close())
    assert weights == repaired_weights(tmp_path / "calm")


def network_config(folder: Path, journal: str) -> Config:
    return make_config(folder / "all.parquet", **SMALL, cluster={"journal": journal})
