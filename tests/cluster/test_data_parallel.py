"""Shards of several workers, by Ray Train: the bits of one process that plays them, whoever is lost."""

import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError
from ray.util import placement_group

import raymu
from raymu.console import Screen
from raymu.core.records import Exactness, Remedy
from raymu.core.verdict import Verdict
from raymu.errors import RankLost, TrainingFailed
from raymu.runtime.data_parallel import DataParallelShard, StageExchange
from raymu.runtime.leaked_placement_groups import release_abandoned_room
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import StageProgress, TrainCommand
from raymu.store.run import RunStore
from raymu.training.stages import StageResult, train_stages
from tests.support.cluster_process import wait_until
from tests.support.coordinated_run import ids_at, lineage_of
from tests.support.examples import make_config, repaired_weights, revoke, served_weights, train_run, write_samples
from tests.support.processes import own_processes
from tests.support.shard_training import stages_for

pytestmark = pytest.mark.usefixtures("ray_cluster")

WORKER, CONTROLLER, SHARD = "ray::RayTrainWorker", "ray::TrainController", "ray::DataParallelShard"


def config_of_two(folder: Path, *, slices: int = 3, **training: object) -> raymu.Config:
    """A shard of two workers, restless in all that they have to themselves. They take all CPUs and GPUs of the cluster."""
    return make_config(
        folder / "all.parquet",
        model={"name": "mlp", "hidden": [8], "dropout": 0.3, "batch_norm": True},
        training={"optimizer": "adam", "learning_rate": 0.01, "batch_size": 17, "epochs": 40, **training},
        partition={"shards": 1, "slices": slices},
        unlearning={"boundary": 0.0},
        cluster={"fleet": "ray", "workers_per_shard": 2, "cpus_per_shard": 4, "gpus_per_shard": 1},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedTwice:
    """stages: as they were told, of the training whose processes were killed; alone: trained in one process"""

    folder: Path
    config: raymu.Config
    stages: list[int]

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def alone(self) -> Path:
        return self.folder / "alone"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedTwice:
    """A run for whose training each kind of process was lost once, at the end of a stage."""
    folder = tmp_path_factory.mktemp("two")
    write_samples(folder / "all.parquet")
    victims, stages = [SHARD, WORKER, CONTROLLER], list[int]()

    def kill_next(stage: StageProgress) -> None:
        stages.append(stage.stage)
        if victims:
            os.kill(own_processes(victims.pop(0))[-1].pid, signal.SIGKILL)

    config = config_of_two(folder, slices=4)
    raymu.train(config, folder / "run", progress=kill_next).close()
    train_run(config, folder / "alone")
    return TrainedTwice(folder=folder, config=config, stages=stages)


def test_what_is_lost_in_the_middle_is_taken_up_again(trained: TrainedTwice) -> None:
    """Stages that are done are not trained again, whoever is lost."""
    assert trained.stages == [0, 1, 2, 3]
    assert repaired_weights(trained.run) == repaired_weights(trained.alone)


def test_two_workers_have_the_bits_of_one_process_that_plays_them(
    trained: TrainedTwice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through a patch that is fine-tuned, and exact retraining, which settles it: the law, and the same hashes."""
    patched, retrained = (ids_at(trained.config, shard=0, slice_index=at)[:5] for at in (1, 2))
    here, there = shutil.copytree(trained.run, tmp_path / "run"), shutil.copytree(trained.alone, tmp_path / "alone")
    alone = Coordinator(RunStore(str(there)), LocalFleet(RunStore(str(there))))
    with raymu.open_run(here) as run:
        for forget, strategy, remedy in ((patched, "ohs", Remedy.FINE_TUNE), (retrained, "sisa", Remedy.RETRAIN)):
            receipt, other = run.revoke(forget, strategy=strategy), revoke(alone, forget, strategy=strategy)
            assert [part.remedy for part in (*receipt.shards, *other.shards)] == [remedy] * 2
            assert receipt.shards[0].determinism == other.shards[0].determinism
            assert '"workers": 2' in receipt.shards[0].determinism
            assert served_weights(here) == served_weights(there), strategy
        assert lineage_of(here, 0).checkpoints[0] == lineage_of(trained.run, 0).checkpoints[0]  # not trained again
        Screen().status(run.status(locations=run.locations()))
        assert ", trained by 2 workers" in capsys.readouterr().out
        assert {one.exactness for one in run.receipts()} == {Exactness.EXACT}
    assert raymu.open_run(here).verify(replay=None).verdict is Verdict.PASS
    train_run(trained.config, tmp_path / "excluded", exclude=[*patched, *retrained])
    assert repaired_weights(here) == repaired_weights(tmp_path / "excluded")


def test_a_model_that_fails_in_training_is_one_line_and_not_tried_again(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    failing = config_of_two(tmp_path, optimizer="sgd", learning_rate=1e25)
    with pytest.raises(TrainingFailed, match="shard 0 could not be trained: in stage 0 its weights became infinite"):
        raymu.train(failing, str(tmp_path / "run"))


def test_workers_end_where_nobody_wants_their_stages(tmp_path: Path) -> None:
    slices = 20
    write_samples(tmp_path / "all.parquet")
    prepare_run(config_of_two(tmp_path, slices=slices), str(tmp_path / "run")).write()
    store = RunStore(str(tmp_path / "run"))

    class Impatient(DataParallelShard):
        handed_in = 0

        def hand_in(self, token: str, trained: StageResult) -> int | None:
            self.handed_in += 1
            return super().hand_in(token, trained)

        def give_up_early(self, work: TrainCommand) -> int:
            reports = self.run(work)
            next(reports)
            del reports
            return self.handed_in

    actor: Any = ray.remote(Impatient).options(num_cpus=0, max_concurrency=2).remote()
    ray.get(actor.open.remote(store.location))
    work = TrainCommand(shard=0, table=store.manifest.tables[0], term=0)
    assert ray.get(actor.give_up_early.remote(work)) < slices
    ray.kill(actor)


def test_room_is_released_whenever_the_actor_that_reserved_it_is_lost() -> None:
    class Maker:
        """Reserves room until it is killed, in the middle of that."""

        def make(self) -> None:
            while True:
                placement_group([{"CPU": 0.001}])

    for lived_s in (0.05, 0.1, 0.15, 0.2):
        maker: Any = ray.remote(Maker).options(num_cpus=0).remote()
        ray.get(maker.__ray_ready__.remote())
        making = maker.make.remote()
        ray.wait([making], timeout=lived_s)
        ray.kill(maker)
        with pytest.raises(RayActorError):
            ray.get(making)

    def is_free() -> bool:
        release_abandoned_room()
        return ray.available_resources().get("CPU") == 8  # type: ignore[no-untyped-call]

    wait_until(is_free, "no room is held")


def test_a_desk_keeps_the_last_checkpoint_for_workers_who_come_to_it_in_time() -> None:
    stages = stages_for(1, {})
    first, second, *_ = train_stages(stages)
    desk = StageExchange(stages)
    assert [desk.take(desk.token, first) for _ in range(2)] == [1, 1]
    assert desk.next_stage == 1
    assert desk.checkpoint_before(1) == first.checkpoint
    desk.take(desk.token, second)
    with pytest.raises(RankLost):
        desk.checkpoint_before(1)
    assert desk.checkpoint_before(2) == second.checkpoint
    desk.close()
    assert desk.next_stage is None


def test_a_desk_takes_nothing_from_workers_of_another() -> None:
    """Those of an earlier piece of work, which were taken for lost, may still be at the same stage."""
    stages = stages_for(1, {})
    first, *_ = train_stages(stages)
    earlier, desk = StageExchange(stages), StageExchange(stages)
    assert desk.take(earlier.token, first) is None
    desk.give_up(earlier.token, TrainingFailed(0, 0, "it was cut off"))
    assert desk.next_stage == 0
    desk.take(desk.token, first)
    assert next(desk.handed_in()) is first
