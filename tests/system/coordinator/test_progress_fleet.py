"""Observing a run: every event in order, and the load of its fleet."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from raymu.core.records import Remedy
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet, ProgressFleet
from raymu.service.shard.messages import FleetLoad, Progress, StageProgress, Work, WorkReport, no_progress
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, journal_events
from tests.support.examples import make_config, write_samples
from tests.support.recording_observer import RecordingObserver


class SideBySide(LocalFleet):
    """Behaves like two workers: a piece of work begins once a worker is free."""

    workers = 2

    def __init__(self, store: RunStore) -> None:
        super().__init__(store)
        self._free = asyncio.Semaphore(self.workers)

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        async with self._free:
            await asyncio.sleep(0)
            return await super().run(work, progress)


def test_an_observer_gets_every_event_in_order_after_the_receipts(tmp_path: Path) -> None:
    ids = write_samples(tmp_path / "all.parquet")["id"].to_pylist()
    prepare_run(make_config(tmp_path / "all.parquet"), str(tmp_path / "run")).write()
    store, witness = RunStore(str(tmp_path / "run")), RecordingObserver()
    coordinator = Coordinator(store, LocalFleet(store), observers=[witness])
    asyncio.run(coordinator.train(no_progress))
    asyncio.run(coordinator.revoke([Revocation(ids=(ids[0],), strategy="dpus")], no_progress))
    asyncio.run(coordinator.settle(no_progress))
    assert not witness.is_closed
    asyncio.run(coordinator.close())
    assert witness.is_closed
    assert witness.events == journal_events(tmp_path / "run")
    kinds = [event.kind for event in witness.events]
    assert kinds[:6] == ["trained", "published", "accepted", "published", "repaired", "published"]
    assert witness.published[4:6] == [0, 1], "as of each event, and not of what follows from it"
    assert len(witness.board.lineages) == 2


def test_progress_counts_running_waiting_and_finished_work(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", partition={"shards": 5, "slices": 2})
    prepare_run(config, str(tmp_path / "run")).write()
    store = RunStore(str(tmp_path / "run"))
    stages_seen: list[StageProgress] = []
    overheard: list[StageProgress] = []
    coordinator = Coordinator(store, ProgressFleet(SideBySide(store), overheard.append))
    asyncio.run(coordinator.train(stages_seen.append))
    assert stages_seen == overheard
    assert len(stages_seen) == 10
    loads = [stage.load for stage in stages_seen]
    for load in loads:
        assert load is not None
        assert len(load.running) + load.waiting + load.done == 5
        assert len(load.running) <= 2
    assert loads[0] == FleetLoad(running=(0, 1), waiting=3, done=0)
    assert loads[-1] == FleetLoad(running=(4,), waiting=0, done=4)
    asyncio.run(coordinator.close())


@pytest.mark.parametrize(("strategy", "remedy"), [("dpus", Remedy.PATCH), ("sisa", Remedy.RETRAIN)])
def test_a_patch_is_reported_as_one_stage(tmp_path: Path, strategy: str, remedy: Remedy) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    prepare_run(config, str(tmp_path / "run")).write()
    store = RunStore(str(tmp_path / "run"))
    coordinator = Coordinator(store, ProgressFleet(LocalFleet(store)))
    asyncio.run(coordinator.train(no_progress))
    stages_seen: list[StageProgress] = []
    first = ids_at(config, shard=1, slice_index=0)[0]
    [receipt] = asyncio.run(coordinator.revoke([Revocation(ids=(first,), strategy=strategy)], stages_seen.append))
    stages: Mapping[str, int] = {"dpus": 1, "sisa": 3}
    assert [(stage.shard, stage.remedy, stage.stages) for stage in stages_seen] == [
        (1, remedy, stages[strategy])
    ] * stages[strategy]
    assert sum(stage.passes for stage in stages_seen) == receipt.shards[0].passes
    # Files are written beside the next stage, so the seconds of stages may overlap.
    assert receipt.shards[0].seconds <= sum(stage.seconds for stage in stages_seen) + 0.5
    asyncio.run(coordinator.close())


def test_an_idle_fleet_starts_counting_again(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    prepare_run(config, str(tmp_path / "run")).write()
    store = RunStore(str(tmp_path / "run"))
    coordinator = Coordinator(store, ProgressFleet(LocalFleet(store)))
    asyncio.run(coordinator.train(no_progress))
    stages_seen: list[StageProgress] = []
    asyncio.run(coordinator.revoke([Revocation(ids=(ids_at(config)[0],), strategy="dpus")], stages_seen.append))
    assert [stage.load and stage.load.done for stage in stages_seen] == [0]
    asyncio.run(coordinator.close())


def test_a_fleet_of_one_worker_knows_all_its_work(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", partition={"shards": 3, "slices": 1})
    prepare_run(config, str(tmp_path / "run")).write()
    store = RunStore(str(tmp_path / "run"))
    coordinator = Coordinator(store, ProgressFleet(LocalFleet(store)))
    stages_seen: list[StageProgress] = []
    asyncio.run(coordinator.train(stages_seen.append))
    assert [stage.load for stage in stages_seen] == [
        FleetLoad(running=(number,), waiting=2 - number, done=number) for number in range(3)
    ]
    asyncio.run(coordinator.close())
