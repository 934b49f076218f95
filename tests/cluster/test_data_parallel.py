"""Shards that several ranks train have the bits of one process that simulates the ranks, also after losses."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

import raymu
from raymu.console.run_tables import show_status
from raymu.console.screen import Screen
from raymu.core.commands import TrainShard
from raymu.core.records import Exactness, Remedy
from raymu.core.verdict import Verdict
from raymu.errors import CoordinatorLost, TrainingFailed
from raymu.runtime.data_parallel import DataParallelShard
from raymu.runtime.messages import MessageCipher
from raymu.runtime.shard_resources import shard_bundle
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import StageProgress, TrainTask
from raymu.store.run import RunStore
from tests.support.cluster_process import wait_until
from tests.support.coordinated_run import ids_at, lineage_of
from tests.support.examples import make_config, repaired_weights, revoke, served_weights, train_run, write_samples
from tests.support.processes import COORDINATOR, DATA_PARALLEL_SHARD, RANK, own_processes

pytestmark = pytest.mark.usefixtures("ray_cluster")


def config_of_two(folder: Path, *, slices: int = 3, **training: object) -> raymu.Config:
    """Return settings with two ranks per shard, which take all CPUs and GPUs, and with dropout and batch norm."""
    return make_config(
        folder / "all.parquet",
        model={"name": "mlp", "hidden": [8], "dropout": 0.3, "batch_norm": True},
        training={"optimizer": "adam", "learning_rate": 0.01, "batch_size": 17, "epochs": 40, **training},
        partition={"shards": 1, "slices": slices},
        unlearning={"boundary": 0.0, "ohs": {"remedy": "fine_tune"}},
        cluster={"fleet": "ray", "workers_per_shard": 2, "cpus_per_shard": 4, "gpus_per_shard": 1},
    )


class Kills:
    """Progress of a training, at each stage of which the next of some processes is killed."""

    def __init__(self, *victims: tuple[str, int]) -> None:
        self._victims = [*victims]
        self.stages: list[int] = []
        """The stages that were reported."""

    def __call__(self, stage: StageProgress) -> None:
        self.stages.append(stage.stage)
        if self._victims:
            name, number = self._victims.pop(0)
            os.kill(own_processes(name)[number].pid, signal.SIGKILL)


def test_two_ranks_have_the_bits_of_one_process_that_simulates_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """Both have the same hashes after a training in which a rank was lost, a fine-tuned patch, and exact retraining.

    With --nightly, each kind of process is lost once.
    """
    write_samples(tmp_path / "all.parquet")
    config, here, there = config_of_two(tmp_path, slices=4), tmp_path / "run", tmp_path / "alone"
    is_nightly = request.config.getoption("--nightly")
    kills = Kills((RANK, 1), *([(DATA_PARALLEL_SHARD, 0), (RANK, 0)] if is_nightly else []))
    patched, retrained = (ids_at(config, shard=0, slice_index=at)[:5] for at in (1, 2))
    alone = train_run(config, there)
    with raymu.train(config, here, progress=kills) as run:
        assert kills.stages == [0, 1, 2, 3]  # no finished stage was trained again
        assert repaired_weights(here) == repaired_weights(there)
        first = lineage_of(here, 0).checkpoints[0]
        for forget, strategy, remedy in ((patched, "ohs", Remedy.FINE_TUNE), (retrained, "sisa", Remedy.RETRAIN)):
            receipt, other = run.revoke(forget, strategy=strategy), revoke(alone, forget, strategy=strategy)
            assert [part.remedy for part in (*receipt.shards, *other.shards)] == [remedy] * 2
            assert receipt.shards[0].determinism == other.shards[0].determinism
            assert '"workers": 2' in receipt.shards[0].determinism
            assert served_weights(here) == served_weights(there), strategy
        assert lineage_of(here, 0).checkpoints[0] == first  # not trained again
        show_status(Screen(), run.status(locations=run.locations()))
        assert ", trained by 2 workers" in capsys.readouterr().out
        assert {receipt.exactness for receipt in run.receipts()} == {Exactness.EXACT}
    assert raymu.open_run(here).verify(replay=None).verdict is Verdict.PASS
    train_run(config, tmp_path / "excluded", exclude=[*patched, *retrained])
    assert repaired_weights(here) == repaired_weights(tmp_path / "excluded")


@pytest.mark.nightly
def test_a_model_that_fails_in_training_is_reported_in_one_line_and_not_retried(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    failing = config_of_two(tmp_path, optimizer="sgd", learning_rate=1e25)
    with pytest.raises(TrainingFailed, match="shard 0 could not be trained: in stage 0 its weights became infinite"):
        raymu.train(failing, str(tmp_path / "run"))


@pytest.mark.nightly
def test_ranks_end_if_their_stages_are_not_read(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = config_of_two(tmp_path, slices=20)
    prepare_run(config, str(tmp_path / "run")).write()
    store = RunStore(str(tmp_path / "run"))

    class Impatient(DataParallelShard):
        def stop_after_one_stage(self, message: bytes) -> None:
            reports = self.run(message)
            next(reports)

    group = placement_group([shard_bundle(config.cluster)] * 2)
    strategy = PlacementGroupSchedulingStrategy(group)
    actor: Any = ray.remote(Impatient).options(num_cpus=0, scheduling_strategy=strategy).remote()
    ray.get(actor.open.remote(store.location))
    work = TrainTask(command=TrainShard(shard=0, table=store.manifest.tables[0]), term=0)
    ray.get(actor.stop_after_one_stage.remote(MessageCipher(store).encrypt(work)))
    wait_until(lambda: not own_processes(RANK), "the ranks are gone")
    ray.get(actor.__ray_ready__.remote())  # and their owner is not
    ray.kill(actor)
    remove_placement_group(group)


@pytest.mark.nightly
def test_the_reservation_of_a_lost_coordinator_is_removed(tmp_path: Path) -> None:
    """The two ranks take all CPUs, so the next coordinator needs their reservation removed."""
    write_samples(tmp_path / "all.parquet")
    config, location = config_of_two(tmp_path), tmp_path / "run"
    asyncio.run(train_run(config, location).close())
    forget = ids_at(config, shard=0, slice_index=1)[:5]

    def kill_coordinator(_stage: StageProgress) -> None:
        for victim in own_processes(COORDINATOR):
            os.kill(victim.pid, signal.SIGKILL)

    with raymu.open_run(location) as run, pytest.raises(CoordinatorLost):
        run.revoke(forget, strategy="sisa", progress=kill_coordinator)
    with raymu.open_run(location) as again:
        again.settle()
    train_run(config, tmp_path / "excluded", exclude=forget)
    assert repaired_weights(location) == repaired_weights(tmp_path / "excluded")
    wait_until(lambda: ray.available_resources().get("CPU") == 8, "no room is reserved")  # type: ignore[no-untyped-call]
