"""A run with requests of every state, as the pages about it are made from it."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from raymu.api import open_run
from raymu.errors import ShardRepairFailed
from raymu.report.load import Measurement, RunRecord, read_run
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, opened
from tests.support.examples import make_config, revoke, settle, train_run, write_samples
from tests.support.scripted_fleet import ScriptedFleet


@pytest.fixture(scope="session")
def plain_record(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """The record of a run with requests of every state: settled, patched, late, of an owner, and waiting."""
    folder = tmp_path_factory.mktemp("report")
    write_samples(folder / "all.parquet", text_ids=True)
    data = {"owner": "owner", "test": str(folder / "all.parquet"), "track_accuracy": True}
    # The default patch, and a replay, cost more than retraining so few samples, and ohs would retrain.
    unlearning = {"contributions": "gradient", "ohs": {"remedy": "fine_tune"}}
    config = make_config(folder / "all.parquet", data=data, unlearning=unlearning)
    location = folder / "run"
    run = train_run(config, location)
    ids = ids_at(config)
    later = datetime.now(UTC) + timedelta(days=2)
    revoke(run, ids[:3], strategy="dpus", due=later - timedelta(days=1))
    store = RunStore(str(location))
    run = Coordinator(store, LocalFleet(store), clock=lambda: later)
    settle(run)
    revoke(run, ids[3:4], strategy="sisa")
    revoke(run, ids[4:5], strategy="ohs", boundary=0.0, due=later + timedelta(minutes=1))
    asyncio.run(run.revoke([Revocation(owner="owner-3"), Revocation(ids=(ids[5],))], no_progress))
    with suppress(ShardRepairFailed), opened(location, ScriptedFleet(RunStore(str(location)), fail_after=0)) as broken:
        broken.revoke(ids_at(config, shard=0, slice_index=2)[-1:], strategy="sisa")
    opened_run = open_run(location)
    return read_run(
        RunStore(str(location)),
        now=later + timedelta(hours=1),
        measured=Measurement(file="test.parquet", evaluation=opened_run.evaluate_file(str(folder / "all.parquet"))),
        verification=opened_run.verify(),
    )
