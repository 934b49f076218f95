"""A worker that is killed at its n-th step of writing leaves nothing to the one that takes its work up, for every n."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from raymu.service.fleet import LocalFleet
from raymu.service.shard import ShardWorker
from raymu.service.work import Progress, Work, WorkReport
from raymu.store.files import RunFiles
from raymu.store.run import RunStore
from tests.unit.service.courses import Course, outcome
from tests.unit.service.faults import FaultyDisk, fail, in_child, kill

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class FleetOfLostWorkers(LocalFleet):
    """The first worker of each piece of work is killed, in a process of its own, in the middle of its n-th step."""

    def __init__(self, store: RunStore, at: int) -> None:
        super().__init__(store)
        self._location, self._at = store.location, at
        self.killed = 0

    async def run(self, work: Work, progress: Progress) -> WorkReport:
        self.killed += not in_child(partial(self._work, work))
        return await super().run(work, progress)

    def _work(self, work: Work) -> None:
        disk = FaultyDisk(self._at, kill, is_torn=True)
        assert list(ShardWorker(RunStore(self._location, RunFiles(self._location, disk=disk))).run(work))


def test_a_lost_worker_leaves_nothing_to_the_next_one(tmp_path: Path) -> None:
    """Its coordinator goes on, so nobody else sweeps."""
    course, location = Course(tmp_path), tmp_path / "run"
    course.run(tmp_path / "undisturbed", FaultyDisk(0, fail))
    undisturbed = outcome(tmp_path / "undisturbed")
    fleets: list[FleetOfLostWorkers] = []

    def fleet(store: RunStore) -> FleetOfLostWorkers:
        fleets.append(FleetOfLostWorkers(store, at=len(fleets) + 1))
        return fleets[-1]

    while not fleets or fleets[-1].killed:
        course.run(location, FaultyDisk(0, fail), fleet)
        assert outcome(location) == undisturbed, f"killed at step {len(fleets)}"
        shutil.rmtree(location)
    assert len(fleets) > 10
