"""The executor alone, with a fleet that fails."""

import asyncio
from pathlib import Path

import pytest

from raymu.core.events import SettleRequested
from raymu.errors import CoordinatorLost, ShardRepairFailed
from raymu.service.coordinator.coordinator import utc_now
from raymu.service.coordinator.executor import Executor
from raymu.service.coordinator.session import Session
from raymu.service.history import replay
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, journal_events
from tests.support.examples import make_config, revoke, train_run, write_samples
from tests.support.scripted_fleet import ScriptedFleet


@pytest.fixture
def executor(tmp_path: Path) -> Executor:
    """The executor of a run whose shard 0 is patched. Its fleet fails in the first repair."""
    write_samples(tmp_path / "all.parquet", samples=60)
    config = make_config(tmp_path / "all.parquet", partition={"shards": 2})
    revoke(train_run(config, tmp_path / "run"), ids_at(config, shard=0)[:1], strategy="dpus")
    store = RunStore(str(tmp_path / "run"))
    session = Session(store, clock=utc_now)
    history = replay(session.journal, store.manifest)
    return Executor(session, ScriptedFleet(store, fail_after=0), history)


def test_a_failure_that_was_repaired_is_not_the_reason_of_a_later_call(executor: Executor) -> None:
    async def work() -> None:
        await executor.record(SettleRequested(at=utc_now(), shards=(0,)))
        with pytest.raises(ShardRepairFailed, match="the worker is gone"):
            await executor.wait_until(lambda: not executor.board.owed)
        assert await executor.resume() == {0}
        await executor.wait_until(lambda: not executor.board.owed)
        with pytest.raises(AssertionError, match="no running repair"):
            await executor.wait_until(lambda: False)

    asyncio.run(work())


def test_a_closed_executor_records_nothing(executor: Executor, tmp_path: Path) -> None:
    before = len(journal_events(tmp_path / "run"))
    asyncio.run(executor.close())
    with pytest.raises(CoordinatorLost):
        asyncio.run(executor.record(SettleRequested(at=utc_now(), shards=(0,))))
    assert len(journal_events(tmp_path / "run")) == before
