"""Settling retrains patched shards, many together, also after interruptions."""

import asyncio
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raymu.config import Config
from raymu.core.board import publication
from raymu.core.events import GenerationPublished, SettleRequested
from raymu.core.receipt import Receipt
from raymu.core.records import Exactness, Remedy, SampleId, ShardState
from raymu.core.verdict import Verdict
from raymu.errors import RaymuError
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.store.run import RunStore
from tests.support.coordinated_run import (
    constituent_of,
    ids_at,
    issued_receipts,
    journal_events,
    opened,
    until_nothing_moves,
)
from tests.support.examples import create_run, make_config, write_samples
from tests.support.faults import FaultyDisk, fail
from tests.support.scripted_fleet import ScriptedFleet

LONG_AGO = datetime.min.replace(tzinfo=UTC)
SHARDS = 3


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    samples = tmp_path_factory.mktemp("samples") / "all.parquet"
    write_samples(samples, samples=60)
    return make_config(
        samples, model={"name": "logistic"}, training={"epochs": 2}, partition={"shards": SHARDS, "slices": 2}
    )


@pytest.fixture(scope="module")
def patched(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has patched every shard, each for a request of its own."""
    location = tmp_path_factory.mktemp("patched") / "run"
    create_run(config, location)
    with opened(location) as run:
        for shard in range(SHARDS):
            run.revoke(ids_at(config, shard=shard, slice_index=1)[:1], strategy="dpus")
    return location


@pytest.fixture
def location(patched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(patched, tmp_path / "run"))


@pytest.fixture
def _all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish once for all shards, as a run with very many shards would."""
    monkeypatch.setattr(publication, "MOST_GENERATIONS", 1)


def test_few_shards_are_published_as_they_are_settled(location: Path) -> None:
    with opened(location) as run:
        run.settle()
    assert [len(publication.settled) for publication in publications(location)[-SHARDS:]] == [1] * SHARDS


@pytest.mark.usefixtures("_all_together")
def test_shards_that_are_settled_together_are_upgraded_by_one_generation(location: Path) -> None:
    before = RunStore(str(location)).current().number
    with opened(location) as run:
        run.settle()
    assert RunStore(str(location)).current().number == before + 1
    require_settled(location)


@pytest.mark.usefixtures("_all_together")
def test_the_next_coordinator_recovers_an_interrupted_settlement_of_several_shards(
    patched: Path, tmp_path: Path
) -> None:
    location, at, has_struck = tmp_path / "run", 0, True
    while has_struck:
        at += 5
        shutil.copytree(patched, location)
        disk = FaultyDisk(at, fail)
        with suppress(RaymuError, OSError), disk.counting_commits():
            store = RunStore(str(location), disk.files(str(location)))
            with opened(store) as run:
                run.settle()
        has_struck = disk.has_struck
        with opened(location) as run:
            run.settle()
        require_settled(location)
        shutil.rmtree(location)
    assert at > 50


def test_a_patch_whose_process_was_lost_is_finished_and_settled_at_once(config: Config, location: Path) -> None:
    request_id = lose_the_process(config, location)
    with opened(location) as run:
        report = asyncio.run(run.coordinator.settle(no_progress))
        assert request_id in report.request_ids
        assert run.coordinator.receipt(request_id).exactness is Exactness.EXACT
    require_settled(location)


def test_resuming_interrupted_work_settles_nothing_that_is_not_due(config: Config, location: Path) -> None:
    request_id = lose_the_process(config, location)
    with opened(location, fleet := ScriptedFleet(RunStore(str(location)))) as run:
        asyncio.run(run.coordinator.settle(no_progress, due_by=LONG_AGO))
        assert run.coordinator.receipt(request_id).exactness is Exactness.APPROXIMATE
    assert [task.command.decision.remedy for task in fleet.repairs] == [Remedy.PATCH]
    assert not [event for event in journal_events(location) if isinstance(event, SettleRequested)]


def test_due_requests_are_settled_while_another_caller_repairs_a_shard(config: Config, location: Path) -> None:
    async def settle_beside_another() -> None:
        coordinator = Coordinator(RunStore(str(location)), ScriptedFleet(RunStore(str(location)), hold=[1]))
        other = begin_revoking(coordinator, ids_at(config, shard=1)[-1:])
        await until_nothing_moves()
        first = coordinator.receipts()[0]
        settling = asyncio.create_task(coordinator.settle(no_progress, due_by=first.due_at))
        await until_nothing_moves()
        assert (settling.done(), other.done()) == (True, False)
        assert settling.result().request_ids == (first.request_id,)
        assert coordinator.receipt(first.request_id).exactness is Exactness.EXACT

    asyncio.run(settle_beside_another())


def test_settling_does_not_wait_for_later_requests(config: Config, location: Path) -> None:
    async def settle_before_another() -> None:
        fleet = ScriptedFleet(RunStore(str(location)), hold=[0])
        coordinator = Coordinator(RunStore(str(location)), fleet)
        settling = asyncio.create_task(coordinator.settle(no_progress))
        await until_nothing_moves()
        fleet.gates[2] = asyncio.Event()
        other = begin_revoking(coordinator, ids_at(config, shard=2)[-1:])
        await until_nothing_moves()
        assert not settling.done()
        fleet.gates[0].set()
        await until_nothing_moves()
        assert (settling.done(), other.done()) == (True, False)
        assert len(settling.result().request_ids) == SHARDS

    asyncio.run(settle_before_another())


def test_resuming_waits_only_for_interrupted_work(config: Config, location: Path) -> None:
    request_id = lose_the_process(config, location)

    async def take_up_beside_another() -> None:
        fleet = ScriptedFleet(RunStore(str(location)), hold=[0, 1])
        coordinator = Coordinator(RunStore(str(location)), fleet)
        settling = asyncio.create_task(coordinator.settle(no_progress, due_by=LONG_AGO))
        await until_nothing_moves()
        other = begin_revoking(coordinator, ids_at(config, shard=1)[-1:])
        await until_nothing_moves()
        assert not settling.done()
        fleet.gates[0].set()
        await until_nothing_moves()
        assert (settling.done(), other.done()) == (True, False)
        assert coordinator.receipt(request_id).published_at

    asyncio.run(take_up_beside_another())


def test_requests_waiting_for_an_interrupted_shard_are_resumed_too(config: Config, location: Path) -> None:
    ids = ids_at(config, shard=0)

    async def be_lost_with_a_request_at_work_and_one_waiting() -> None:
        coordinator = Coordinator(RunStore(str(location)), ScriptedFleet(RunStore(str(location)), hold=[0]))
        for sample_id in ids[-2:]:
            _ = begin_revoking(coordinator, [sample_id])
            await until_nothing_moves()

    asyncio.run(be_lost_with_a_request_at_work_and_one_waiting())
    with opened(location) as run:
        asyncio.run(run.coordinator.settle(no_progress, due_by=LONG_AGO))
        assert all(receipt.purged_at for receipt in run.coordinator.receipts())


def begin_revoking(coordinator: Coordinator, ids: list[SampleId]) -> asyncio.Task[list[Receipt]]:
    return asyncio.create_task(coordinator.revoke([Revocation(ids=tuple(ids), strategy="dpus")], no_progress))


def lose_the_process(config: Config, location: Path) -> str:
    """Lose the process during a patch of shard 0. Returns the request."""

    def interrupt(_task: object) -> None:
        raise KeyboardInterrupt

    with opened(location, ScriptedFleet(RunStore(str(location)), before=interrupt)) as run:
        with pytest.raises(KeyboardInterrupt):
            run.revoke(ids_at(config, shard=0)[-1:], strategy="dpus")
        return run.coordinator.receipts()[-1].request_id


def publications(location: Path) -> list[GenerationPublished]:
    return [event for event in journal_events(location) if isinstance(event, GenerationPublished)]


def require_settled(location: Path) -> None:
    """Check that every shard is exact, every receipt upgraded, no superseded file left, and that the run verifies."""
    store = RunStore(str(location))
    assert {constituent_of(location, shard).state for shard in range(SHARDS)} == {ShardState.EXACT}
    last = {receipt.request_id: receipt.exactness for receipt in issued_receipts(location)}
    assert set(last.values()) == {Exactness.EXACT}
    assert store.garbage.paths({file for lineage in store.current().lineages for file in lineage.files}) == []
    assert verify(store, no_progress).verdict is Verdict.PASS
