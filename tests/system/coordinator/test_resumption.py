"""Interrupted work on a shard resumes after its last finished stage, and gives the bits of uninterrupted work."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymu.config import Config
from raymu.core.commands import TrainShard
from raymu.core.records import Exactness, ShardLineage
from raymu.errors import CoordinatorSuperseded, PatchFailed, ShardRepairFailed
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import (
    RepairTask,
    StageProgress,
    TrainReport,
    TrainTask,
    Work,
    no_progress,
)
from raymu.service.shard.shard_patcher import ShardPatcher
from raymu.service.shard.worker import ShardWorker
from raymu.store.run import RunStore
from raymu.training.stages import StageResult, StageTask, train_stages
from tests.support.coordinated_run import ids_at, lineage_of, state_files
from tests.support.examples import create_run, make_config, repaired_weights, revoke, train_run, write_samples
from tests.support.other_device import on
from tests.support.scripted_fleet import ScriptedFleet
from tests.support.trained_runs import weights_without

SLICES = 4
WAYS: list[dict[str, dict[str, Any]]] = [
    {"training": {"momentum": 0.9}},
    {"training": {"optimizer": "adam", "learning_rate": 0.01}, "unlearning": {"contributions": "batch"}},
    {"training": {"schedule": "cosine"}, "unlearning": {"contributions": "group", "groups_per_slice": 2}},
    {"model": {"name": "mlp", "hidden": [8], "batch_norm": True, "dropout": 0.3}, "cluster": {"workers_per_shard": 2}},
]


def config_of(folder: Path, **branches: dict[str, Any]) -> Config:
    write_samples(folder / "all.parquet")
    training = {"epochs": 6} | branches.pop("training", {})
    partition = {"shards": 2, "slices": SLICES}
    return make_config(folder / "all.parquet", training=training, partition=partition, **branches)


class Worker(ShardWorker):
    """Counts the stages that it really trains."""

    def __init__(self, location: Path | str) -> None:
        self.stages: list[int] = []
        super().__init__(RunStore(str(location)), self._counted)

    def _counted(self, stages: StageTask) -> Iterator[StageResult]:
        for trained in train_stages(stages):
            self.stages.append(trained.stage)
            yield trained

    def stop_after(self, stages: int, work: Work) -> None:
        with closing(self.run(work)) as steps:
            assert all(isinstance(next(steps), StageProgress) for _ in range(stages))

    def train(self, work: Work) -> TrainReport:
        *_, report = self.run(work)
        assert isinstance(report, TrainReport)
        return report


def training_of(location: Path) -> TrainTask:
    """The training of shard 0 in a run that is not trained yet."""
    manifest = RunStore(str(location)).manifest
    return TrainTask(command=TrainShard(shard=0, table=manifest.tables[0], index=manifest.indexes[0]), term=0)


def files_there(location: Path) -> set[str]:
    return {str(path.relative_to(location)) for path in location.rglob("*") if path.is_file()}


def interim_reports(location: Path) -> list[Path]:
    return sorted(location.glob("reports/*.interim.json"))


def content_of(lineage: ShardLineage) -> object:
    return (
        lineage.files,
        lineage.slice_samples,
        [checkpoint and checkpoint.weights_sha256 for checkpoint in lineage.checkpoints],
    )


@pytest.mark.parametrize("way", WAYS)
def test_training_resumes_after_its_last_finished_stage(tmp_path: Path, way: dict[str, dict[str, Any]]) -> None:
    config = config_of(tmp_path, **way)
    prepare_run(config, str(tmp_path / "run")).write()
    shutil.copytree(tmp_path / "run", tmp_path / "undisturbed")
    undisturbed = Worker(tmp_path / "undisturbed").train(training_of(tmp_path / "run"))
    for done in range(1, SLICES):
        location = Path(shutil.copytree(tmp_path / "run", tmp_path / str(done)))
        Worker(location).stop_after(done, training_of(location))
        worker = Worker(location)
        report = worker.train(training_of(location))
        assert worker.stages == list(range(done, SLICES))
        assert content_of(report.lineage) == content_of(undisturbed.lineage)
        assert (report.passes, report.determinism) == (undisturbed.passes, undisturbed.determinism)
        assert {ref.path for ref in report.lineage.files} == state_files(location, 0)


def test_each_lost_worker_costs_at_most_the_stage_it_was_lost_in(tmp_path: Path) -> None:
    location = tmp_path / "run"
    prepare_run(config_of(tmp_path), str(location)).write()
    for _ in range(SLICES - 1):
        worker = Worker(location)
        worker.stop_after(1, training_of(location))
        assert len(worker.stages) == 1
    worker = Worker(location)
    report = worker.train(training_of(location))
    assert worker.stages == [SLICES - 1]
    speed = report.lineage
    by_speed = SLICES * speed.seconds_per_stage + report.passes * speed.seconds_per_pass
    assert by_speed == pytest.approx(report.seconds, rel=0.5), "the speed is that of all stages"
    assert report.passes > 2 * report.lineage.samples


@pytest.mark.parametrize("is_reopened", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_retraining_resumes_after_its_last_finished_stage(
    tmp_path: Path, way: dict[str, dict[str, Any]], is_reopened: bool
) -> None:
    config, location = config_of(tmp_path, **way), str(tmp_path / "run")
    create_run(config, location)
    ids = ids_at(config, shard=0, slice_index=1)[:3]
    coordinator = Coordinator(RunStore(location), ScriptedFleet(RunStore(location), fail_after=2))
    with pytest.raises(ShardRepairFailed):
        revoke(coordinator, ids, strategy="sisa")
    if is_reopened:
        coordinator = Coordinator(RunStore(location), LocalFleet(RunStore(location)))
    progress: list[StageProgress] = []
    asyncio.run(coordinator.settle(progress.append))
    assert [(stage.first, stage.stage, stage.stages) for stage in progress] == [(1, 3, 3)]
    [receipt] = coordinator.receipts()
    assert receipt.exactness is Exactness.EXACT
    calm = train_run(config, tmp_path / "calm")
    assert receipt.shards[0].passes == revoke(calm, ids, strategy="sisa").shards[0].passes
    assert content_of(lineage_of(location, 0)) == content_of(lineage_of(tmp_path / "calm", 0))
    assert repaired_weights(location) == weights_without(config, ids)
    assert not interim_reports(tmp_path / "run")


def cut(location: Path) -> None:
    [path] = interim_reports(location)
    path.write_bytes(path.read_bytes()[:99])


def change(location: Path) -> None:
    [path] = interim_reports(location)
    path.write_bytes(path.read_bytes().replace(b'"stage":0', b'"stage":1'))


def lose_a_checkpoint(location: Path) -> None:
    next(location.glob("shards/0000/stage-0-*")).unlink()


def damage_a_checkpoint(location: Path) -> None:
    path = next(location.glob("shards/0000/stage-1-*"))
    payload = path.read_bytes()
    path.write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))


def make_unreadable(location: Path) -> None:
    path = next(location.glob("shards/0000/stage-1-*"))
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize("harm", [cut, change, lose_a_checkpoint, damage_a_checkpoint, make_unreadable])
def test_unusable_partial_results_are_trained_again(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    config, location = config_of(tmp_path), tmp_path / "run"
    prepare_run(config, str(location)).write()
    Worker(location).stop_after(2, training_of(location))
    harm(location)
    worker = Worker(location)
    report = worker.train(training_of(location))
    assert worker.stages == list(range(SLICES))
    create_run(config, tmp_path / "calm")
    assert content_of(report.lineage) == content_of(lineage_of(tmp_path / "calm", 0))
    assert {ref.path for ref in report.lineage.files} == state_files(location, 0)


def test_a_partial_report_of_another_run_is_not_resumed(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    for name in ("run", "other"):
        prepare_run(config, str(tmp_path / name)).write()
    Worker(tmp_path / "other").stop_after(2, training_of(tmp_path / "other"))
    for folder in ("shards", "reports"):
        shutil.copytree(tmp_path / "other" / folder, tmp_path / "run" / folder)
    worker = Worker(tmp_path / "run")
    worker.train(training_of(tmp_path / "run"))
    assert worker.stages == list(range(SLICES))


def test_training_on_other_samples_begins_at_the_first_stage(tmp_path: Path) -> None:
    config, location = config_of(tmp_path), tmp_path / "run"
    prepare_run(config, str(location)).write()
    Worker(location).stop_after(2, training_of(location))
    ids = ids_at(config, shard=0, slice_index=1)[:1]
    store = RunStore(str(location))
    table = store.samples.read_table(training_of(location).command.table)
    fewer = store.samples.write(
        0, table.filter(pa.array([sample_id not in ids for sample_id in table["id"].to_pylist()]))
    )
    worker = Worker(location)
    report = worker.train(TrainTask(command=TrainShard(shard=0, table=fewer.table, index=fewer.index), term=0))
    assert worker.stages == list(range(SLICES))
    create_run(config, tmp_path / "calm", exclude=ids)
    assert content_of(report.lineage) == content_of(lineage_of(tmp_path / "calm", 0))


def test_a_worker_of_another_determinism_class_begins_again_and_stays_exact(tmp_path: Path) -> None:
    """Nothing of the first class is left, since a later request could not destroy it."""
    config, location = config_of(tmp_path), tmp_path / "run"
    ids = ids_at(config, shard=0, slice_index=0)[:2]

    def break_off_elsewhere(task: RepairTask) -> None:
        with on("T4"):
            Worker(location).stop_after(2, task)

    with on("A100"):
        create_run(config, location)
        fleet = ScriptedFleet(RunStore(str(location)), before=break_off_elsewhere)
        receipt = revoke(Coordinator(RunStore(str(location)), fleet), ids, strategy="sisa")
    assert receipt.exactness is Exactness.EXACT
    assert lineage_of(location, 0).earlier_classes == ()
    assert state_files(location, 0) == {ref.path for ref in lineage_of(location, 0).files}


@pytest.mark.parametrize("fails_again", [True, False])
def test_an_interrupted_failed_patch_leaves_no_stage(tmp_path: Path, fails_again: bool) -> None:
    config, location = config_of(tmp_path), tmp_path / "run"
    create_run(config, location)
    ids = ids_at(config, shard=0, slice_index=1)[:2]
    progress: list[StageProgress] = []
    with pytest.MonkeyPatch.context() as patch:

        def break_off(task: RepairTask) -> None:
            Worker(location).stop_after(2, task)
            if not fails_again:
                patch.undo()

        def refuse(*_: object) -> None:
            raise PatchFailed("it did not forget")

        patch.setattr(ShardPatcher, "patch", refuse)
        coordinator = Coordinator(RunStore(str(location)), ScriptedFleet(RunStore(str(location)), before=break_off))
        revocation = Revocation(ids=tuple(ids), strategy="dpus")
        [receipt] = asyncio.run(coordinator.revoke([revocation], progress.append))
    assert receipt.exactness is (Exactness.EXACT if fails_again else Exactness.APPROXIMATE)
    assert [stage.stage for stage in progress] == ([3] if fails_again else [])
    assert state_files(location, 0) == {ref.path for ref in lineage_of(location, 0).files}


class BreakOffOnce:
    """Interrupts shard 0's first repair after two stages, and notes the files that later repairs find."""

    def __init__(self, location: Path) -> None:
        self._location = location
        self.files: list[set[str]] = []
        """The files of shard 0 each time that its repair began."""

    def __call__(self, task: RepairTask) -> None:
        if task.shard == 0:
            self.files.append(files_there(self._location))
            if len(self.files) == 1:
                Worker(self._location).stop_after(2, task)
                raise ConnectionError("the worker is gone")


def test_partial_results_are_destroyed_before_a_remedy_that_forgets_more(tmp_path: Path) -> None:
    """Another shard is running meanwhile, so that no garbage is collected."""
    config, location = config_of(tmp_path), tmp_path / "run"
    create_run(config, location)
    before = files_there(location)
    ids = ids_at(config, shard=0, slice_index=0)[:3]
    held = ids_at(config, shard=1)[:1]

    async def both() -> list[StageProgress]:
        store, break_off = RunStore(str(location)), BreakOffOnce(location)
        fleet = ScriptedFleet(store, before=break_off, hold=[1])
        coordinator = Coordinator(store, fleet)
        first = asyncio.create_task(
            coordinator.revoke([Revocation(ids=(*ids[:2], *held), strategy="sisa")], no_progress)
        )
        while not coordinator.board.idle_with_work:
            await asyncio.sleep(0)
        [interim] = interim_reports(location)
        progress: list[StageProgress] = []
        second = coordinator.revoke([Revocation(ids=(ids[2],), strategy="sisa")], progress.append)
        requests = asyncio.gather(first, second)
        while len(break_off.files) < 2:
            await asyncio.sleep(0)
        left = break_off.files[-1] - before
        assert not {path for path in left if path.startswith(("samples/", "shards/", "reports/"))}
        assert not interim.exists()
        fleet.gates[1].set()
        await requests
        await coordinator.close()
        return progress

    progress = asyncio.run(both())
    assert [stage.stage for stage in progress if not stage.shard] == list(range(SLICES))
    assert state_files(location, 0) == {ref.path for ref in lineage_of(location, 0).files}
    assert repaired_weights(location) == weights_without(config, [*ids, *held])


def test_partial_results_stay_if_a_concurrent_call_ends(tmp_path: Path) -> None:
    config, location = config_of(tmp_path), tmp_path / "run"
    create_run(config, location)

    async def both_and_settle() -> list[StageProgress]:
        store = RunStore(str(location))
        fleet = ScriptedFleet(store, before=BreakOffOnce(location), hold=[1])
        coordinator = Coordinator(store, fleet)
        revocations = [
            Revocation(ids=(ids_at(config, shard=shard, slice_index=0)[0],), strategy="sisa") for shard in (0, 1)
        ]
        calls = [asyncio.create_task(coordinator.revoke([request], no_progress)) for request in revocations]
        while not coordinator.board.idle_with_work:
            await asyncio.sleep(0)
        fleet.gates[1].set()
        broken_off, _ = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(broken_off, ShardRepairFailed)
        progress: list[StageProgress] = []
        await coordinator.settle(progress.append)
        await coordinator.close()
        return progress

    assert [(stage.shard, stage.stage) for stage in asyncio.run(both_and_settle())] == [(0, 2), (0, 3)]


def test_a_superseded_worker_reports_no_stages(tmp_path: Path) -> None:
    config, location = config_of(tmp_path), tmp_path / "run"
    prepare_run(config, str(location)).write()
    steps = Worker(location).run(training_of(location))
    next(steps)
    while not interim_reports(location):  # it is written beside the training
        time.sleep(0.01)
    [interim] = interim_reports(location)
    payload = interim.read_bytes()
    later = Coordinator(RunStore(str(location)), LocalFleet(RunStore(str(location))))
    with pytest.raises(CoordinatorSuperseded):
        next(steps)
    assert interim.read_bytes() == payload
    progress: list[StageProgress] = []
    asyncio.run(later.settle(progress.append))
    assert [stage.stage for stage in progress if not stage.shard] == [1, 2, 3]
    assert not interim.exists()
