"""Runs whose journals share a database on PostgreSQL."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sql

from raymu.config import Config
from raymu.core.records import Exactness
from raymu.core.verdict import Verdict
from raymu.errors import CoordinatorSuperseded, FileUnreadable
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, issued_receipts, journal_events
from tests.support.examples import make_config, repaired_weights, revoke, settle, train_run, write_samples
from tests.support.object_store_server import ObjectStoreServer
from tests.support.postgres_server import PostgresServer

Place = Callable[[str], str]
"""Where a run of a name lies."""


@pytest.fixture(params=["local disk", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local disk":
        return lambda name: str(tmp_path / name)
    object_store: ObjectStoreServer = request.getfixturevalue("object_store")
    bucket = object_store.new_bucket()
    return lambda name: object_store.uri(f"{bucket}/{name}")


@pytest.fixture
def database(postgres: PostgresServer) -> sql.URL:
    return postgres.new_database()


@pytest.fixture
def config(tmp_path: Path, database: sql.URL) -> Config:
    write_samples(tmp_path / "all.parquet")
    return make_config(tmp_path / "all.parquet", cluster={"journal": str(database)})


def reopened(location: str) -> Coordinator:
    store = RunStore(location)
    return Coordinator(store, LocalFleet(store))


def close(*coordinators: Coordinator) -> None:
    for coordinator in coordinators:
        asyncio.run(coordinator.close())


def test_runs_in_one_database_are_trained_revoked_and_settled_independently(
    config: Config, place: Place, tmp_path: Path
) -> None:
    ids = ids_at(config)
    first, second = (train_run(config, place(name)) for name in ("first", "second"))
    early = revoke(first, ids[:3], strategy="dpus", key="k")
    late = revoke(second, ids[2:5], strategy="sisa", key="k")
    assert (early.exactness, late.exactness) == (Exactness.APPROXIMATE, Exactness.EXACT)
    settle(first)
    close(first, second)
    for name, forgotten in (("first", ids[:3]), ("second", ids[2:5])):
        location = place(name)
        close(train_run(make_config(tmp_path / "all.parquet"), tmp_path / f"{name} anew", exclude=forgotten))
        assert repaired_weights(location) == repaired_weights(tmp_path / f"{name} anew")
        assert issued_receipts(location)[-1].exactness is Exactness.EXACT
        store = RunStore(location)
        assert verify(store, no_progress, replay=[0, 1]).verdict is Verdict.PASS
        assert not [path for path in store.files.walk() if "journal" in path]


def test_a_reopened_run_continues_where_it_was(config: Config, place: Place) -> None:
    ids = ids_at(config)
    run = train_run(config, place("run"))
    receipt = revoke(run, ids[:3], strategy="dpus", key="k")
    close(run)
    successor = reopened(place("run"))
    assert revoke(successor, ids[:3], strategy="dpus", key="k") == receipt
    settle(successor)
    assert successor.receipt(receipt.request_id).exactness is Exactness.EXACT
    close(successor)


def test_an_earlier_coordinator_changes_nothing(config: Config, place: Place) -> None:
    ids = ids_at(config)
    zombie = train_run(config, place("run"))
    successor = reopened(place("run"))
    before, files = journal_events(place("run")), RunStore(place("run")).files.walk()
    with pytest.raises(CoordinatorSuperseded):
        revoke(zombie, ids[:1])
    with pytest.raises(CoordinatorSuperseded):
        settle(zombie)
    assert journal_events(place("run")) == before
    assert RunStore(place("run")).files.walk() == files
    assert revoke(successor, ids[:1], strategy="sisa").exactness is Exactness.EXACT
    close(zombie, successor)


def test_a_request_is_refused_while_its_journal_is_unreachable_and_accepted_later(
    config: Config, tmp_path: Path, postgres: PostgresServer, database: sql.URL
) -> None:
    ids = ids_at(config)
    run = train_run(config, tmp_path / "run")
    postgres.execute(f"ALTER DATABASE {database.database} ALLOW_CONNECTIONS false")
    postgres.disconnect(database)
    with pytest.raises(FileUnreadable, match="not currently accepting connections"):
        revoke(run, ids[:1])
    postgres.execute(f"ALTER DATABASE {database.database} ALLOW_CONNECTIONS true")
    assert revoke(run, ids[:1], strategy="sisa").exactness is Exactness.EXACT
    close(run)
