"""While storage is slow, a coordinator whose workers are elsewhere answers other calls."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raymu.core.events import RevocationsAccepted
from raymu.core.records import SampleId
from raymu.core.verdict import Verdict
from raymu.errors import CoordinatorLost
from raymu.service.coordinator.calls import Locations
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.coordinator.session import in_thread
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, journal_events
from tests.support.examples import create_run, make_config, repaired_weights, write_samples

Work = Callable[[Coordinator, "SlowCommits"], Awaitable[None]]


class SlowCommits:
    """Makes commits of accepted requests wait in their thread until a test lets them finish."""

    def __init__(self) -> None:
        self.begun, self._may_finish = threading.Event(), threading.Event()
        self.running = self.most_running = 0

    @contextmanager
    def commit(self) -> Iterator[None]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.begun.set()
        assert self._may_finish.wait(timeout=60)
        yield
        self.running -= 1

    async def wait_for_one(self) -> None:
        while not self.begun.is_set():
            await asyncio.sleep(0.01)

    def finish(self) -> None:
        self._may_finish.set()


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> SlowCommits:
    slow, accept = SlowCommits(), Journal.accept

    def accept_slowly(journal: Journal, *args: Any, **kwargs: Any) -> None:
        with slow.commit():
            accept(journal, *args, **kwargs)

    monkeypatch.setattr(Journal, "accept", accept_slowly)
    return slow


@pytest.fixture
def ids(tmp_path: Path) -> list[SampleId]:
    """Samples of shard 0 in a trained run of two shards."""
    write_samples(tmp_path / "all.parquet", samples=60)
    config = make_config(tmp_path / "all.parquet", partition={"shards": 2})
    create_run(config, tmp_path / "run")
    return ids_at(config, shard=0)


def carry_out(location: Path, work: Work, commits: SlowCommits) -> None:
    """Work with a coordinator that waits for storage in threads, and leave the run."""

    async def open_and_work() -> None:
        store = RunStore(str(location))
        coordinator = Coordinator(store, LocalFleet(store), offload=in_thread)
        try:
            await work(coordinator, commits)
        finally:
            commits.finish()
            await coordinator.close()

    asyncio.run(open_and_work())


def revoke(coordinator: Coordinator, sample_id: SampleId) -> "asyncio.Task[Any]":
    revocation = Revocation(ids=(sample_id,), strategy="sisa")
    return asyncio.create_task(coordinator.revoke([revocation], no_progress))


def test_other_calls_are_answered_while_a_commit_is_slow(
    ids: list[SampleId], tmp_path: Path, commits: SlowCommits
) -> None:
    async def work(coordinator: Coordinator, commits: SlowCommits) -> None:
        first = revoke(coordinator, ids[0])
        await commits.wait_for_one()
        second = revoke(coordinator, ids[1])
        assert await asyncio.wait_for(coordinator.call(Locations(), no_progress), timeout=10) == {}
        assert (coordinator.receipts(), coordinator.deadlines()) == ((), ())
        assert [first.done(), second.done()] == [False, False]
        commits.finish()
        receipts = [receipt for task in (first, second) for receipt in await task]
        assert all(receipt.purged_at for receipt in receipts)
        assert [receipt.request_id for receipt in coordinator.receipts()] == [
            receipt.request_id for receipt in receipts
        ]

    carry_out(tmp_path / "run", work, commits)
    assert commits.most_running == 1
    accepted = [event for event in journal_events(tmp_path / "run") if isinstance(event, RevocationsAccepted)]
    assert [len(event.requests) for event in accepted] == [1, 1]
    assert verify(RunStore(str(tmp_path / "run")), no_progress, replay=range(2)).verdict is Verdict.PASS
    create_run(make_config(tmp_path / "all.parquet", partition={"shards": 2}), tmp_path / "calm", exclude=ids[:2])
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "calm")


def test_a_call_that_is_cancelled_while_it_commits_leaves_board_and_journal_in_step(
    ids: list[SampleId], tmp_path: Path, commits: SlowCommits
) -> None:
    async def work(coordinator: Coordinator, commits: SlowCommits) -> None:
        cancelled = revoke(coordinator, ids[0])
        await commits.wait_for_one()
        cancelled.cancel()
        await asyncio.sleep(0.05)
        commits.finish()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert len(coordinator.receipts()) == 1, "it was committed"
        [receipt] = await revoke(coordinator, ids[1])
        assert receipt.purged_at
        assert all(receipt.purged_at for receipt in coordinator.receipts())

    carry_out(tmp_path / "run", work, commits)
    assert verify(RunStore(str(tmp_path / "run")), no_progress, replay=range(2)).verdict is Verdict.PASS


def test_a_call_that_waits_for_its_turn_commits_nothing_after_the_coordinator_left(
    ids: list[SampleId], tmp_path: Path, commits: SlowCommits
) -> None:
    async def work(coordinator: Coordinator, commits: SlowCommits) -> None:
        first = revoke(coordinator, ids[0])
        await commits.wait_for_one()
        second = revoke(coordinator, ids[1])
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(coordinator.close())
        await asyncio.sleep(0.05)
        commits.finish()
        await closing
        for task in (first, second):
            with pytest.raises(CoordinatorLost):
                await task

    carry_out(tmp_path / "run", work, commits)
    accepted = [event for event in journal_events(tmp_path / "run") if isinstance(event, RevocationsAccepted)]
    assert [len(event.requests) for event in accepted] == [1]
