"""A run with a failure at its n-th write ends like an undisturbed run, for every n."""

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from raymu.core.board import publication
from raymu.errors import RaymuError
from tests.support.faults import FaultyDisk, fail, in_child, kill, run_full
from tests.support.request_scenarios import ResumableScenario, outcome

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

PARTS = 14
"""Each part strikes at every fourteenth step. The first part runs on every change, the others nightly."""
EVERY_PART = [0, *(pytest.param(part, marks=pytest.mark.nightly) for part in range(1, PARTS))]


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """The outcome of an undisturbed scenario, and the steps, writes and changes of its disk."""

    steps: int
    writes: list[int]
    changes: list[int]
    outcome: object


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> ResumableScenario:
    return ResumableScenario(tmp_path_factory.mktemp("scenario"))


@pytest.fixture(scope="module")
def undisturbed(scenario: ResumableScenario, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    location, disk = tmp_path_factory.mktemp("undisturbed") / "run", FaultyDisk(0, fail)
    scenario.run(location, disk)
    return Undisturbed(steps=disk.steps, writes=disk.writes, changes=disk.changes, outcome=outcome(location))


@pytest.mark.parametrize("part", EVERY_PART)
@pytest.mark.parametrize(("strike", "is_torn"), [(fail, False), (run_full, True)], ids=["error", "torn and full"])
def test_the_next_coordinator_recovers_from_a_failed_step(
    scenario: ResumableScenario,
    undisturbed: Undisturbed,
    tmp_path: Path,
    strike: Callable[[], None],
    is_torn: bool,
    part: int,
) -> None:
    location, steps = tmp_path / "run", undisturbed.writes if is_torn else range(1, undisturbed.steps + 1)
    for at in steps[part::PARTS]:
        disk = FaultyDisk(at, strike, is_torn=is_torn)
        with suppress(RaymuError, OSError):  # the report was read although its folder could not be synced
            scenario.run(location, disk)
        assert disk.has_struck
        scenario.run(location, FaultyDisk(0, fail))
        assert outcome(location) == undisturbed.outcome, f"struck at step {at} of {undisturbed.steps}"
        shutil.rmtree(location)


@pytest.mark.parametrize("part", EVERY_PART)
@pytest.mark.parametrize("is_torn", [False, True], ids=["before a change", "in the middle of a write"])
def test_a_process_that_is_killed_loses_nothing(
    scenario: ResumableScenario, undisturbed: Undisturbed, tmp_path: Path, is_torn: bool, part: int
) -> None:
    """It is killed once during its work, and once more while it recovers."""
    location, steps = tmp_path / "run", undisturbed.writes if is_torn else undisturbed.changes
    for at in steps[part::PARTS]:
        assert not in_child(partial(scenario.run, location, FaultyDisk(at, kill, is_torn=is_torn)))
        again = random.Random(at).randrange(1, 30)
        in_child(partial(scenario.run, location, FaultyDisk(again, kill, is_torn=is_torn)))
        scenario.run(location, FaultyDisk(0, fail))
        assert outcome(location) == undisturbed.outcome, f"killed at step {at} of {undisturbed.steps}, then at {again}"
        shutil.rmtree(location)


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.nightly) for part in range(1, 4 * PARTS))])
def test_results_that_wait_for_a_common_commit_are_not_lost(
    scenario: ResumableScenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """Without a bound on the number of generations, each result waits until the last shard of its request is repaired."""
    monkeypatch.setattr(publication, "MOST_GENERATIONS", 0)
    disk = FaultyDisk(0, fail)
    scenario.run(tmp_path / "undisturbed", disk)
    for at in disk.changes[part :: 4 * PARTS]:
        location = tmp_path / str(at)
        assert not in_child(partial(scenario.run, location, FaultyDisk(at, kill)))
        scenario.run(location, FaultyDisk(0, fail))
        assert outcome(location) == outcome(tmp_path / "undisturbed"), f"killed at step {at} of {disk.steps}"
