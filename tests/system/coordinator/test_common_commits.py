"""Results that bring nothing by themselves are committed together with later ones."""

import asyncio
from pathlib import Path

import pytest

from raymu.core.board import publication
from raymu.core.events import Event, ShardRepaired
from raymu.core.trust import EVERYTHING
from raymu.service.coordinator import executor
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import ProgressFleet
from raymu.service.shard.messages import no_progress
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at
from tests.support.examples import create_run, make_config, write_samples
from tests.support.scripted_fleet import ScriptedFleet

SHARDS = 4


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of repairs in each commit that has any."""
    sizes: list[int] = []
    append = Journal.append

    def counted(journal: Journal, *events: Event) -> None:
        if repairs := sum(isinstance(event, ShardRepaired) for event in events):
            sizes.append(repairs)
        append(journal, *events)

    monkeypatch.setattr(Journal, "append", counted)
    monkeypatch.setattr(publication, "MOST_GENERATIONS", 1)
    return sizes


def revoke_of_each_shard(folder: Path, commits: list[int], *, fail_after: int | None = None, hold: int = -1) -> None:
    """Train a run, and revoke a sample of each of its shards with one request. hold: a shard that ends after all others"""
    write_samples(folder / "all.parquet", samples=120)
    config = make_config(folder / "all.parquet", partition={"shards": SHARDS})
    create_run(config, folder / "run")
    store = RunStore(str(folder / "run"), trust=EVERYTHING)
    fleet = ScriptedFleet(store, fail_after=fail_after, hold=[hold])
    coordinator = Coordinator(store, ProgressFleet(fleet))  # as a local client has
    ids = tuple(ids_at(config, shard=shard)[0] for shard in range(SHARDS))
    revocation = Revocation(ids=ids, strategy="sisa")

    async def work() -> None:
        call = asyncio.create_task(coordinator.revoke([revocation], no_progress))
        try:
            async with asyncio.timeout(60.0):
                while hold >= 0 and sum(commits) < SHARDS - 1:
                    await asyncio.sleep(0.01)
            fleet.gates[hold].set()
            await call
        finally:
            await coordinator.close()

    asyncio.run(work())


def test_the_shards_of_a_request_share_a_commit(
    tmp_path: Path, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "MOST_WAIT_S", 600.0)
    revoke_of_each_shard(tmp_path, commits)
    assert commits == [SHARDS]


def test_results_do_not_wait_long_for_a_repair_that_takes_long(tmp_path: Path, commits: list[int]) -> None:
    revoke_of_each_shard(tmp_path, commits, hold=SHARDS - 1)
    assert commits == [SHARDS - 1, 1]


def test_the_results_of_the_other_shards_are_committed_if_one_fails(tmp_path: Path, commits: list[int]) -> None:
    with pytest.raises(Exception, match="the worker is gone"):
        revoke_of_each_shard(tmp_path, commits, fail_after=0)
    assert sum(commits) == SHARDS - 1
