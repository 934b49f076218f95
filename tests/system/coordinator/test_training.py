"""Training up to the first generation: it happens once, and stops at a shard that cannot be trained."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from raymu.config import UnlearningConfig
from raymu.config.unlearning import Strategy
from raymu.errors import RaymuError, RequestInvalid, RunInvalid, TrainingFailed, WorkerLost
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.shard.fleet import ProgressFleet
from raymu.service.shard.messages import Progress, StageProgress, Work, WorkReport, no_progress
from raymu.store.run import RunStore
from tests.support.coordinated_run import history_of
from tests.support.examples import make_config, write_samples
from tests.support.scripted_fleet import ScriptedFleet
from tests.support.trained_runs import TrainedRunFactory

REFUSAL = TrainingFailed(1, 0, "its weights became infinite")


def write_run(tmp_path: Path, *, shards: int = 5) -> RunStore:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", partition={"shards": shards, "slices": 2})
    prepare_run(config, str(tmp_path / "run")).write()
    return RunStore(str(tmp_path / "run"))


def fail_shard_1(store: RunStore, error: RaymuError) -> ScriptedFleet:
    return ScriptedFleet(store, failures={1: error})


class TwoAtOnce(ScriptedFleet):
    """Behaves like two workers; the one that trains shard 0 ends last."""

    workers = 2
    running: set[int]

    def __init__(self, store: RunStore, error: RaymuError | None = None) -> None:
        super().__init__(store, failures={1: error} if error else {})
        self._free = asyncio.Semaphore(self.workers)
        self.running = set()

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        async with self._free:
            self.running.add(work.shard)
            try:
                for _ in range(20 if work.shard == 0 else 1):
                    await asyncio.sleep(0)
                return await super().run(work, progress)
            finally:
                self.running.remove(work.shard)


@pytest.mark.parametrize(("make_fleet", "begun", "done"), [(fail_shard_1, [0, 1], [0]), (TwoAtOnce, [1, 0], [0])])
def test_after_a_failed_shard_no_other_begins_and_running_ones_finish(
    tmp_path: Path, make_fleet: Callable[[RunStore, RaymuError], ScriptedFleet], begun: list[int], done: list[int]
) -> None:
    fleet = make_fleet(store := write_run(tmp_path), REFUSAL)
    with pytest.raises(TrainingFailed, match="infinite"):
        asyncio.run(Coordinator(store, ProgressFleet(fleet)).train(no_progress))
    assert (fleet.begun, fleet.done) == (begun, done)


@pytest.mark.parametrize("make_fleet", [fail_shard_1, TwoAtOnce])
def test_after_a_lost_worker_the_other_shards_are_trained(
    tmp_path: Path, make_fleet: Callable[[RunStore, RaymuError], ScriptedFleet]
) -> None:
    fleet = make_fleet(store := write_run(tmp_path), WorkerLost(1, 4, "out of memory"))
    with pytest.raises(WorkerLost):
        asyncio.run(Coordinator(store, ProgressFleet(fleet)).train(no_progress))
    assert sorted(fleet.done) == [0, 2, 3, 4]


def test_a_run_is_trained_once(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    before = history_of(run.location)
    with pytest.raises(RunInvalid, match="is trained already"):
        asyncio.run(run.coordinator.train(no_progress))
    assert history_of(run.location) == before


def test_settings_are_not_changed_while_a_run_is_trained(tmp_path: Path) -> None:
    store = write_run(tmp_path, shards=2)
    coordinator = Coordinator(store, ProgressFleet(TwoAtOnce(store)))

    async def train() -> None:
        configuring: list[asyncio.Task[None]] = []

        def configure(_stage: StageProgress) -> None:
            if not configuring:
                configuring.append(asyncio.create_task(coordinator.configure(UnlearningConfig(strategy=Strategy.DPUS))))

        await coordinator.train(configure)
        with pytest.raises(RequestInvalid, match="running or left"):
            await configuring[0]

    asyncio.run(train())
    assert RunStore(store.location).config.unlearning == store.config.unlearning
    asyncio.run(coordinator.configure(UnlearningConfig(strategy=Strategy.DPUS)))


def test_settings_of_a_run_whose_training_was_interrupted_can_be_changed(tmp_path: Path) -> None:
    store = write_run(tmp_path, shards=2)
    coordinator = Coordinator(store, fail_shard_1(store, WorkerLost(1, 4, "its node is gone")))
    with pytest.raises(WorkerLost):
        asyncio.run(coordinator.train(no_progress))
    asyncio.run(coordinator.configure(UnlearningConfig(strategy=Strategy.DPUS)))
    assert RunStore(store.location).config.unlearning.strategy is Strategy.DPUS
