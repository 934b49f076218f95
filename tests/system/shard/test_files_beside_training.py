"""Files of a stage are written beside the training of the next one: in order, durably before they are reported, and alike."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from raymu.core.commands import TrainShard
from raymu.errors import StorageFailed
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import StageProgress, TrainReport, TrainTask
from raymu.service.shard.reports import find_partial
from raymu.service.shard.worker import ShardWorker
from raymu.service.shard.write_behind import WriteBehind
from raymu.store.files.local import LocalDisk
from raymu.store.files.run_files import RunFiles
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples
from tests.support.faults import FaultyDisk, in_child, kill, run_full

SLICES = 3


class WatchedDisk(LocalDisk):
    """Remembers the files that appeared, in their order, and what the reports among them say."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.reports: dict[int, str] = {}
        """Place among the names -> the text of the report."""

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        if target.parent.name == "reports":
            self.reports[len(self.names)] = target.read_text(encoding="utf-8")
        self.names.append(target.name)


@pytest.fixture(scope="module")
def new_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Return a function that makes a run that is not trained yet: always the same one, at another place."""
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder / "all.parquet", samples=60)
    config = make_config(
        folder / "all.parquet",
        training={"epochs": 3},
        partition={"shards": 1, "slices": SLICES},
        unlearning={"contributions": "group", "groups_per_slice": 2},
    )

    def make() -> Path:
        location = tmp_path_factory.mktemp("runs") / "run"
        prepare_run(config, str(location)).write()
        return location

    return make


def train(location: Path, disk: LocalDisk | None = None) -> tuple[list[StageProgress], TrainReport]:
    store = RunStore(str(location), RunFiles(str(location), disk=disk) if disk else None)
    *progress, report = ShardWorker(store).run(work_of(store))
    assert isinstance(report, TrainReport)
    return [each for each in progress if isinstance(each, StageProgress)], report


def train_on(location: Path, disk: LocalDisk) -> None:
    train(location, disk)


def work_of(store: RunStore) -> TrainTask:
    manifest = store.manifest
    return TrainTask(command=TrainShard(shard=0, table=manifest.tables[0], index=manifest.indexes[0]), term=0)


def states(location: Path) -> dict[str, bytes]:
    """The bytes of each checkpoint and of each file of recorded updates."""
    return {path.name: path.read_bytes() for path in location.glob("shards/*/*.safetensors")}


def require_reported_files(location: Path) -> None:
    """Check that whatever is reported is written."""
    store = RunStore(str(location))
    work = work_of(store)
    unfinished = find_partial(store, work.command_id)
    files = unfinished.trained.files if unfinished else frozenset()
    if report := store.reports.find(TrainReport, work.command_id):
        files |= report.lineage.files
    assert not any(store.files.damage(sorted(files, key=lambda file: file.path)))


def test_files_have_the_bytes_that_they_have_without_a_thread(
    new_run: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, after = new_run(), new_run()
    _, report = train(beside)
    monkeypatch.setattr(WriteBehind, "begin", lambda _behind, write: write())
    _, report_after = train(after)
    assert len(states(beside)) == 2 * SLICES
    assert states(beside) == states(after)
    assert report.lineage.files == report_after.lineage.files


def test_a_report_comes_after_the_files_that_it_names(new_run: Callable[[], Path]) -> None:
    disk = WatchedDisk()
    progress, _ = train(new_run(), disk)
    assert [each.stage for each in progress] == list(range(SLICES))
    kinds = [name.rsplit("-", 1)[0] for name in disk.names if name.endswith(".safetensors")]
    assert kinds == [f"{kind}-{stage}" for stage in range(SLICES) for kind in ("stage", "updates")]
    assert len(disk.reports) == SLICES
    for place, text in disk.reports.items():
        assert json.loads(text), "a report is whole"
        unnamed = [name for name in disk.names[:place] if name.endswith(".safetensors") and name not in text]
        later = [name for name in disk.names[place:] if name in text]
        assert (unnamed, later) == ([], [])


def test_a_disk_that_fails_beside_the_training_fails_the_work_as_one_that_fails_after_it(
    new_run: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, counting = new_run(), FaultyDisk(0, run_full)
    train(whole, counting)

    def message(at: int) -> str:
        location = new_run()
        with pytest.raises(StorageFailed) as failed:
            train(location, FaultyDisk(at, run_full))
        require_reported_files(location)
        train(location)
        assert states(location) == states(whole)
        return str(failed.value).replace(str(location), "RUN")

    writes = counting.writes[:: max(1, len(counting.writes) // 4)]
    beside = [message(at) for at in writes]
    assert all("No space left on device" in text for text in beside)
    monkeypatch.setattr(WriteBehind, "begin", lambda _behind, write: write())
    assert [message(at) for at in writes] == beside


def test_a_process_that_is_killed_between_a_file_and_its_report_loses_no_reported_file(
    new_run: Callable[[], Path],
) -> None:
    whole, counting = new_run(), FaultyDisk(0, kill)
    train(whole, counting)
    for at in counting.changes[1 :: max(1, len(counting.changes) // 5)]:
        location = new_run()
        assert not in_child(partial(train_on, location, FaultyDisk(at, kill)))
        require_reported_files(location)
        train(location)
        assert states(location) == states(whole)
