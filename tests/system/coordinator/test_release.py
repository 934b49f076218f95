"""A coordinator that leaves a run during work: from then on it writes nothing, and its callers do not wait."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from raymu.config import Config
from raymu.core.events import Event
from raymu.errors import CoordinatorLost, CoordinatorSuperseded
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import Progress, RepairTask, Work, WorkReport, no_progress
from raymu.store.journal.file_seal import matches_seal
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, journal_events, opened, until_nothing_moves
from tests.support.examples import create_run, make_config, repaired_weights, settle, write_samples
from tests.support.recording_observer import RecordingObserver
from tests.support.trained_runs import weights_without

SHARDS = 3


class OneAtATime(LocalFleet):
    """A test lets the one that is at work go on; those who wait for their turn are sent away at the end, at once."""

    def __init__(self, store: RunStore) -> None:
        super().__init__(store)
        self.may_go_on = asyncio.Event()
        self.begun: list[int] = []
        self._turns: list[asyncio.Future[None]] = []

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        if isinstance(work, RepairTask):
            if self.begun:
                turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._turns.append(turn)
                await turn
            self.begun.append(work.shard)
            await self.may_go_on.wait()
        return await super().run(work, progress)

    async def close(self) -> None:
        for turn in self._turns:
            turn.set_exception(CoordinatorLost("it has left the run"))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", partition={"shards": SHARDS, "slices": 2})
    create_run(config, tmp_path / "run")
    return config


def one_of_each_shard(config: Config) -> tuple[int | str, ...]:
    return tuple(ids_at(config, shard=shard)[0] for shard in range(SHARDS))


def opened_coordinator(location: Path) -> Coordinator:
    store = RunStore(str(location))
    return Coordinator(store, LocalFleet(store))


async def leave_in_the_middle(
    location: Path, ids: Sequence[int | str], witness: RecordingObserver, *, is_superseded: bool = False
) -> BaseException | None:
    """Leave while one shard is running, whose report comes later, and the others wait. Returns what the caller gets."""
    store = RunStore(str(location))
    fleet = OneAtATime(store)
    coordinator = Coordinator(store, fleet, observers=[witness])
    revoking = asyncio.create_task(coordinator.revoke([Revocation(ids=tuple(ids), strategy="sisa")], no_progress))
    await until_nothing_moves()
    assert len(fleet.begun) == 1
    if is_superseded:
        Coordinator(RunStore(str(location)), LocalFleet(RunStore(str(location))))
    await coordinator.close()
    await until_nothing_moves()
    error = revoking.exception()
    fleet.may_go_on.set()
    await until_nothing_moves()
    return error


def test_nothing_is_written_after_the_seal(config: Config, tmp_path: Path) -> None:
    witness = RecordingObserver()
    error = asyncio.run(leave_in_the_middle(tmp_path / "run", one_of_each_shard(config), witness))
    assert isinstance(error, CoordinatorLost)
    events: list[Event] = journal_events(tmp_path / "run")
    assert [event.kind for event in events] == ["trained", "published", "accepted", "published"]
    store = RunStore(str(tmp_path / "run"))
    with closing(store.journal(is_read_only=True)) as journal:
        term, sequence = journal.term(), journal.head().sequence
    assert matches_seal(store.files, store.keys, term=term, sequence=sequence)


def test_an_observer_gets_nothing_after_the_close(config: Config, tmp_path: Path) -> None:
    witness = RecordingObserver()
    asyncio.run(leave_in_the_middle(tmp_path / "run", one_of_each_shard(config), witness))
    assert [event.kind for event in witness.events] == ["accepted", "published"]
    assert not witness.is_called_after_the_end


def test_the_next_coordinator_resumes_running_and_waiting_work(config: Config, tmp_path: Path) -> None:
    ids = one_of_each_shard(config)
    asyncio.run(leave_in_the_middle(tmp_path / "run", ids, RecordingObserver()))
    with opened(tmp_path / "run") as run:
        settle(run.coordinator)
    assert repaired_weights(tmp_path / "run") == weights_without(config, ids)


def test_callers_of_a_superseded_coordinator_get_an_error(config: Config, tmp_path: Path) -> None:
    ids = one_of_each_shard(config)
    error = asyncio.run(leave_in_the_middle(tmp_path / "run", ids, RecordingObserver(), is_superseded=True))
    assert isinstance(error, CoordinatorSuperseded)


def test_a_call_after_the_close_writes_nothing(config: Config, tmp_path: Path) -> None:
    coordinator = opened_coordinator(tmp_path / "run")
    asyncio.run(coordinator.close())
    before = journal_events(tmp_path / "run")
    revocation = Revocation(ids=tuple(ids_at(config, shard=0)[:1]))
    for call in (coordinator.accept([revocation]), coordinator.revoke([revocation], no_progress)):
        with pytest.raises(CoordinatorLost):
            asyncio.run(call)
    assert journal_events(tmp_path / "run") == before
    asyncio.run(coordinator.close())
