"""A coordinator that is suspended at its n-th write, and continues after another took over, writes nothing."""

import random
import shutil
from functools import partial
from pathlib import Path

import pytest

from raymu.errors import JournalBusy
from raymu.store.journal import dialects
from tests.support.faults import FaultyDisk, StoppedChild, fail, stop
from tests.support.request_scenarios import ResumableScenario, files_of, outcome

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.mark.parametrize("tried", [12, pytest.param(48, marks=pytest.mark.nightly)])
def test_a_suspended_coordinator_writes_nothing_once_another_took_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: int
) -> None:
    """Suspended inside a transaction it keeps the run: no other can take over, and it continues where it was.

    Some of more than a hundred steps are tried; each is the start of a process, and two or three courses.
    """
    monkeypatch.setattr(dialects, "SQLITE_BUSY_MS", 50)
    scenario, trained = ResumableScenario(tmp_path), tmp_path / "trained"
    scenario.train(trained)
    disk = FaultyDisk(0, fail)
    scenario.run(shutil.copytree(trained, tmp_path / "undisturbed"), disk)
    undisturbed = outcome(tmp_path / "undisturbed")
    superseded = kept = 0
    for at in random.Random(5).sample(range(1, disk.steps + 1), tried):
        location = shutil.copytree(trained, tmp_path / f"run-{at}")
        zombie = StoppedChild(partial(scenario.run, location, FaultyDisk(at, stop)))
        try:
            scenario.run(location, FaultyDisk(0, fail))
        except JournalBusy:
            assert zombie.go_on()
            kept += 1
        else:
            left = files_of(location)
            superseded += not zombie.go_on()
            assert files_of(location) == left, f"stopped at step {at} of {disk.steps}"
        assert outcome(location) == undisturbed, f"stopped at step {at} of {disk.steps}"
    assert superseded > tried / 4
    assert kept > tried / 4
