"""A run that is struck at its n-th step of writing ends like one that was left alone, for every n."""

import asyncio
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from raymu.config import Config
from raymu.core.events import RequestsPurged
from raymu.errors import RaymuError
from raymu.service.coordinator import Coordinator
from raymu.service.fleet import LocalFleet
from raymu.service.ingest import prepare_run
from raymu.service.requests import Revocation
from raymu.store.files import RunFiles
from raymu.store.run import RunStore
from tests.examples import make_config, silent, write_samples
from tests.unit.service.faults import FaultyDisk, fail, in_child, kill, run_full
from tests.unit.service.runs import history_of, ids_at, issued_receipts, journal_events, raw_ids_in_journal

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Course:
    """Train, retrain for a first request, patch for a second, settle: may be begun again at any point."""

    def __init__(self, folder: Path) -> None:
        write_samples(folder / "all.parquet", samples=60)
        self.config: Config = make_config(
            folder / "all.parquet",
            model={"name": "logistic"},
            training={"epochs": 2},
            partition={"shards": 2, "slices": 2},
        )
        early, late = ids_at(self.config, shard=0, slice_index=0), ids_at(self.config, slice_index=1)
        self.asked = [
            Revocation(ids=(early[0], late[-1]), strategy="sisa", key="first"),
            Revocation(ids=(early[1],), strategy="dpus", key="second"),
        ]

    def run(self, location: Path, disk: FaultyDisk) -> None:
        with disk.counting_commits():
            store = RunStore(str(location), RunFiles(str(location), disk=disk))
            if not store.files.exists("run.json"):
                replace(prepare_run(self.config, str(location)), store=store).write()
            coordinator = Coordinator(store, LocalFleet(store))
            try:
                asyncio.run(self._revoke(coordinator))
            finally:
                asyncio.run(coordinator.close())

    async def _revoke(self, coordinator: Coordinator) -> None:
        for one in self.asked:
            await coordinator.revoke([one], silent)
        await coordinator.settle(silent)


def steps_of(course: Course, location: Path) -> int:
    disk = FaultyDisk(0, fail)
    course.run(location, disk)
    return disk.steps


def outcome(location: Path) -> object:
    """What must not depend on what happened on the way: all but times, seconds and random ids."""
    store = RunStore(str(location))
    generation = store.current()
    needed = {file for lineage in generation.lineages for file in lineage.files}
    events = journal_events(location)
    _, _, files = history_of(location)
    return (
        generation.number,
        [
            (lineage.table, lineage.slice_samples, lineage.files, lineage.tainted_from)
            for lineage in generation.lineages
        ],
        [(one.state, one.checkpoint and one.checkpoint.file) for one in generation.constituents],
        [event.kind for event in events if event.kind in ("trained", "accepted")],
        [len(event.request_ids) for event in events if isinstance(event, RequestsPurged) and event.request_ids],
        raw_ids_in_journal(location),
        store.strays(needed),
        [(one.exactness, one.samples, one.generation_after) for one in issued_receipts(location)],
        [name for name in files if not name.startswith("journal.sqlite-")],
    )


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    return Course(tmp_path_factory.mktemp("course"))


@pytest.fixture(scope="module")
def steps_and_outcome(course: Course, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, object]:
    location = tmp_path_factory.mktemp("undisturbed") / "run"
    return steps_of(course, location), outcome(location)


@pytest.mark.parametrize(("strike", "is_torn"), [(fail, False), (run_full, True)], ids=["error", "torn and full"])
def test_a_step_that_fails_is_made_good_by_the_next_coordinator(
    course: Course,
    steps_and_outcome: tuple[int, object],
    tmp_path: Path,
    strike: Callable[[], None],
    is_torn: bool,
) -> None:
    steps, undisturbed = steps_and_outcome
    location = tmp_path / "run"
    for at in range(1, steps + 1):
        disk = FaultyDisk(at, strike, is_torn=is_torn)
        with suppress(RaymuError, OSError):  # a report whose folder could not be synced was found all the same
            course.run(location, disk)
        assert disk.steps >= at
        course.run(location, FaultyDisk(0, fail))
        assert outcome(location) == undisturbed, f"struck at step {at} of {steps}"
        shutil.rmtree(location)


@pytest.mark.parametrize("is_torn", [False, True], ids=["before a step", "in the middle of a write"])
def test_a_process_that_is_killed_loses_nothing(
    course: Course, steps_and_outcome: tuple[int, object], tmp_path: Path, is_torn: bool
) -> None:
    """Killed once on the way, and once more while it recovers."""
    steps, undisturbed = steps_and_outcome
    location = tmp_path / "run"
    for at in range(1, steps + 1):
        assert not in_child(partial(course.run, location, FaultyDisk(at, kill, is_torn=is_torn)))
        again = random.Random(at).randrange(1, 30)
        in_child(partial(course.run, location, FaultyDisk(again, kill, is_torn=is_torn)))
        course.run(location, FaultyDisk(0, fail))
        assert outcome(location) == undisturbed, f"killed at step {at} of {steps}, then at {again}"
        shutil.rmtree(location)
