"""A run that is struck at its n-th step of writing ends like one that was left alone, for every n."""

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from raymu.errors import RaymuError
from tests.unit.service.courses import Course, outcome
from tests.unit.service.faults import FaultyDisk, fail, in_child, kill, run_full

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def steps_of(course: Course, location: Path) -> int:
    disk = FaultyDisk(0, fail)
    course.run(location, disk)
    return disk.steps


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
