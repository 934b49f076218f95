"""If the disk is full during a repair, the error is one line, nothing is lost, and the work is finished later."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import raymu
from raymu.api import Revocation, Run
from raymu.config import Config
from raymu.core.records import ShardState
from raymu.core.verdict import Verdict
from raymu.errors import FileUnreadable, RaymuError, ShardRepairFailed, StorageFailed
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, raw_ids_in_journal
from tests.support.examples import make_config, write_samples
from tests.support.faults import in_child
from tests.support.request_scenarios import outcome

KIB = 1024
CHECKPOINT_SIZE = 4 * (6 + 1 + 3) * 8192
"""Of an MLP with 8192 hidden units, in bytes. The journal stays smaller than this."""


class Requests:
    """A trained run that consists mostly of checkpoints, a request to retrain, and a request to patch."""

    def __init__(self, folder: Path, *, hidden: int, fleet: str = "local") -> None:
        write_samples(folder / "all.parquet", samples=80)
        self.config: Config = make_config(
            folder / "all.parquet",
            model={"name": "mlp", "hidden": [hidden]},
            training={"epochs": 2},
            partition={"shards": 2, "slices": 2},
            cluster={"fleet": fleet, "live_actors": 2},
        )
        late, early = ids_at(self.config, slice_index=1), ids_at(self.config, shard=0, slice_index=0)
        self.revocations = [
            Revocation(ids=(late[0], late[-1]), strategy="sisa", key="retrain"),
            Revocation(ids=(early[0],), strategy="dpus", key="patch"),
        ]
        self.trained = folder / "trained"
        raymu.train(self.config, self.trained).close()
        undisturbed = shutil.copytree(self.trained, folder / "undisturbed")
        self.make(undisturbed)
        self.outcome = outcome(undisturbed)

    def make(self, location: Path) -> None:
        """Send all requests, and settle. This may be repeated from any point."""
        with Run(location) as run:
            for revocation in self.revocations:
                run.revoke_together([revocation])
            run.settle()

    def require_undisturbed(self, location: Path) -> None:
        assert outcome(location) == self.outcome
        assert verify(RunStore(str(location)), no_progress, replay=range(2)).verdict is Verdict.PASS


class Disk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def leave(self, size: int) -> None:
        """Fill the disk, except for `size` bytes."""
        self._ballast.unlink(missing_ok=True)
        self._ballast.write_bytes(bytes(max(0, self._free() - size)))

    def make_room(self) -> None:
        self._ballast.unlink()

    def _free(self) -> int:
        filesystem = os.statvfs(self.folder)
        return filesystem.f_bavail * filesystem.f_frsize


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 8 MiB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can't be mounted here: that takes root, and a system that lets it")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("fleet", ["local", pytest.param("ray", marks=pytest.mark.nightly)])
def test_a_disk_that_becomes_full_during_a_repair(
    tmp_path: Path, disk: Disk, fleet: str, request: pytest.FixtureRequest
) -> None:
    if fleet == "ray":
        request.getfixturevalue("ray_cluster")
    requests = Requests(tmp_path, hidden=8192, fleet=fleet)
    location = shutil.copytree(requests.trained, disk.folder / "run")
    disk.leave(CHECKPOINT_SIZE // 2)
    with pytest.raises(ShardRepairFailed, match="No space left on device") as refusal:
        requests.make(location)
    require_one_line(refusal.value)
    require_accepted_and_rewound(location)
    disk.make_room()
    with Run(location) as run:
        run.settle()
    requests.make(location)
    requests.require_undisturbed(location)


@pytest.mark.nightly
def test_a_disk_with_too_little_room(tmp_path: Path, disk: Disk) -> None:
    """There is room for nothing, for the journal, for the rewound generation, or for some of the checkpoints."""
    requests = Requests(tmp_path, hidden=1024)
    errors: list[type[RaymuError] | None] = []
    for room in range(0, 640 * KIB, 16 * KIB):
        location = shutil.copytree(requests.trained, disk.folder / "run")
        disk.leave(room)
        errors.append(None)
        try:
            requests.make(location)
        except RaymuError as error:
            require_one_line(error)
            errors[-1] = type(error)
        disk.make_room()
        requests.make(location)
        requests.require_undisturbed(location)
        shutil.rmtree(location)
    assert set(errors) - {FileUnreadable} == {StorageFailed, ShardRepairFailed, None}
    assert errors[0] in (StorageFailed, FileUnreadable)  # SQLite needs a little room to read, too


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    requests = Requests(tmp_path, hidden=8192)
    location = shutil.copytree(requests.trained, tmp_path / "run")

    def make_with_small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (CHECKPOINT_SIZE // 2, resource.RLIM_INFINITY))
        with pytest.raises(ShardRepairFailed, match="File too large"):
            requests.make(location)

    assert in_child(make_with_small_files_only)
    require_accepted_and_rewound(location)
    requests.make(location)
    requests.require_undisturbed(location)


def require_one_line(error: RaymuError) -> None:
    assert len(str(error).splitlines()) == 1


def require_accepted_and_rewound(location: Path) -> None:
    status = Run(location).status()
    assert (status.requests.accepted, status.requests.published) == (1, 0)
    assert all(shard.state in (ShardState.REWOUND, ShardState.ABSTAINING) for shard in status.shards)
    assert raw_ids_in_journal(location) == 2
