"""Reading a run writes nothing, also beside its journal, so that a run on a read-only file system can be read."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import raymu
from raymu.store.run import RunStore
from tests.support.trained_runs import TrainedRunFactory

GOLDEN = Path(__file__).parents[2] / "golden_runs" / "0.1" / "grouped"
READ = """
import sys
import numpy as np
import raymu
run = raymu.open_run(sys.argv[1])
assert run.status().generation
assert run.verify().verdict != "fail"
assert run.predict(np.zeros((2, *run._store.manifest.input_shape), dtype=np.float32)).shape[0] == 2
"""


def files(location: Path) -> dict[str, bytes]:
    return {str(path.relative_to(location)): path.read_bytes() for path in location.rglob("*") if path.is_file()}


@pytest.fixture(params=["this version", "version 0.1"])
def location(request: pytest.FixtureRequest, trained_run: TrainedRunFactory, tmp_path: Path) -> Path:
    if request.param == "this version":
        return Path(trained_run().location)
    run = Path(shutil.copytree(GOLDEN, tmp_path / "golden"))
    for key in run.glob("*.key"):
        key.chmod(0o600)
    return run


def test_reading_a_run_leaves_no_file_behind(location: Path) -> None:
    before = files(location)
    subprocess.run([sys.executable, "-c", READ, location], check=True)
    assert files(location) == before
    assert not list(location.glob("journal.sqlite-*"))


def test_a_run_on_a_read_only_file_system_can_be_read(location: Path) -> None:
    mounted = ["unshare", "-rm", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"']
    if shutil.which("unshare") is None or subprocess.run([*mounted, location, "true"], check=False).returncode:
        pytest.skip("this system mounts nothing")
    refused = subprocess.run([*mounted, location, "touch", location / "x"], check=False, stderr=subprocess.DEVNULL)
    assert refused.returncode
    subprocess.run([*mounted, location, sys.executable, "-c", READ, location], check=True)


def test_a_run_whose_coordinator_was_killed_can_be_read_without_writing(location: Path) -> None:
    journal, _ = RunStore(str(location)).take_over()
    journal.close()
    before = files(location)
    assert raymu.open_run(location).status().generation
    assert files(location) == before


def test_a_closed_journal_needs_no_log(trained_run: TrainedRunFactory) -> None:
    location = Path(trained_run().location)
    with raymu.open_run(location) as run:
        run.settle()
    assert (location / "journal.sqlite").read_bytes()[18:20] == b"\x01\x01"
    assert not list(location.glob("journal.sqlite-*"))
