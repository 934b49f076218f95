"""A worker that is killed at its n-th write does not affect the worker that resumes its work, for any n."""

import pickle
import shutil
from functools import partial
from pathlib import Path

import pytest

from raymu.core.commands import TrainShard
from raymu.service.ingest import prepare_run
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import Progress, TrainTask, Work, WorkReport
from raymu.service.shard.worker import ShardWorker
from raymu.store.files.run_files import RunFiles
from raymu.store.run import RunStore
from tests.support.faults import FaultyDisk, fail, in_child, kill
from tests.support.request_scenarios import ResumableScenario, outcome

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class FleetOfLostWorkers(LocalFleet):
    """Kills the first worker of each piece of work, in its own process, in the middle of its n-th step."""

    def __init__(self, store: RunStore, at: int) -> None:
        super().__init__(store)
        self._location, self.at = store.location, at
        self.killed = 0

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        self.killed += not in_child(partial(self._work, work))
        return await super().run(work, progress)

    def _work(self, work: Work) -> None:
        disk = FaultyDisk(self.at, kill, is_torn=True)
        assert list(ShardWorker(RunStore(self._location, RunFiles(self._location, disk=disk))).run(work))


@pytest.mark.parametrize("apart", [3, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_lost_worker_leaves_nothing_to_the_next_one(tmp_path: Path, apart: int) -> None:
    """The coordinator continues, so no other one collects the garbage. Workers die at steps that are so far apart."""
    scenario, location = ResumableScenario(tmp_path), tmp_path / "run"
    scenario.run(tmp_path / "undisturbed", FaultyDisk(0, fail))
    undisturbed = outcome(tmp_path / "undisturbed")
    fleets: list[FleetOfLostWorkers] = []

    def fleet(store: RunStore) -> FleetOfLostWorkers:
        fleets.append(FleetOfLostWorkers(store, at=1 + apart * len(fleets)))
        return fleets[-1]

    while not fleets or fleets[-1].killed:
        scenario.run(location, FaultyDisk(0, fail), fleet)
        assert outcome(location) == undisturbed, f"killed at step {fleets[-1].at}"
        shutil.rmtree(location)
    assert fleets[-1].at > 10


def test_a_worker_forgets_its_previous_shard_even_if_another_worker_did_the_work(tmp_path: Path) -> None:
    scenario, location = ResumableScenario(tmp_path), tmp_path / "run"
    prepare_run(scenario.config, str(location)).write()
    tables = RunStore(str(location)).manifest.tables
    first, second = ShardWorker(RunStore(str(location))), ShardWorker(RunStore(str(location)))
    assert list(second.run(TrainTask(command=TrainShard(shard=1, table=tables[1]), term=0)))
    assert list(first.run(TrainTask(command=TrainShard(shard=0, table=tables[0]), term=0)))
    assert {ref.path[:11] for ref in first._files._payloads} == {"shards/0000"}
    assert list(first.run(TrainTask(command=TrainShard(shard=1, table=tables[1]), term=0)))
    assert not first._files._payloads


def test_what_is_sent_to_another_process_has_no_keys(tmp_path: Path) -> None:
    scenario, location = ResumableScenario(tmp_path), tmp_path / "run"
    prepare_run(scenario.config, str(location)).write()
    store = RunStore(str(location))
    keys = (store.keys.hash_key, store.keys.signing_key)
    payload = pickle.dumps(store)
    assert not any(key in payload or key.hex().encode() in payload for key in keys)
    assert pickle.loads(payload).keys.hash_key == store.keys.hash_key
