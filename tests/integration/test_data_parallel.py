"""Shards of several workers, by Ray Train: the bits of one process that plays them, whoever is lost."""

import os
import signal
from pathlib import Path

import pytest

import raymu
from raymu.core.records import Exactness, Remedy
from raymu.core.verdict import Verdict
from raymu.errors import TrainingFailed
from raymu.service.work import StageTrained
from tests.examples import make_config, repaired_weights, revoke, served_weights, settle, train_run, write_samples
from tests.integration.victims import own_processes
from tests.unit.service.runs import ids_at

pytestmark = pytest.mark.usefixtures("ray_cluster")

WORKER, CONTROLLER, SHARD = "ray::RayTrainWorker", "ray::TrainController", "ray::DataParallelShard"


def config_of_two(folder: Path, *, shards: int = 1) -> raymu.Config:
    """Shards of two workers, restless in all that they have to themselves."""
    return make_config(
        folder / "all.parquet",
        model={"name": "mlp", "hidden": [8], "dropout": 0.3, "batch_norm": True},
        training={"optimizer": "adam", "learning_rate": 0.01, "batch_size": 17},
        partition={"shards": shards, "slices": 3},
        unlearning={"boundary": 0.0},
        cluster={"fleet": "ray", "workers_per_shard": 2, "live_actors": 1},
    )


def test_two_workers_have_the_bits_of_one_process_that_plays_them(tmp_path: Path) -> None:
    """Through training, exact retraining, a patch that is fine-tuned, and settling it: the law, and the same hashes."""
    write_samples(tmp_path / "all.parquet")
    config = config_of_two(tmp_path, shards=2)
    retrained, patched = ids_at(config, shard=0)[:9], ids_at(config, shard=1)[:5]
    alone = train_run(config, tmp_path / "played")
    with raymu.train(config, str(tmp_path / "ray")) as run:
        assert repaired_weights(tmp_path / "ray") == repaired_weights(tmp_path / "played")
        for forget, strategy, remedy in ((retrained, "sisa", Remedy.RETRAIN), (patched, "ohs", Remedy.FINE_TUNE)):
            receipt, other = run.revoke(forget, strategy=strategy), revoke(alone, forget, strategy=strategy)
            assert [part.remedy for part in (*receipt.shards, *other.shards)] == [remedy] * 2
            assert receipt.shards[0].determinism == other.shards[0].determinism
            assert '"workers": 2' in receipt.shards[0].determinism
            assert served_weights(tmp_path / "ray") == served_weights(tmp_path / "played"), strategy
        run.settle()
        settle(alone)
        assert {receipt.exactness for receipt in run.receipts()} == {Exactness.EXACT}
    assert raymu.open_run(tmp_path / "ray").verify(replay=None).verdict is Verdict.PASS
    assert repaired_weights(tmp_path / "ray") == repaired_weights(tmp_path / "played")
    train_run(config, tmp_path / "excluded", exclude=[*retrained, *patched])
    assert repaired_weights(tmp_path / "ray") == repaired_weights(tmp_path / "excluded")


@pytest.mark.parametrize("victim", [WORKER, CONTROLLER, SHARD])
def test_what_is_lost_in_the_middle_is_taken_up_again(tmp_path: Path, victim: str) -> None:
    write_samples(tmp_path / "all.parquet")
    config = config_of_two(tmp_path)
    killed: list[int] = []
    stages: list[int] = []

    def kill_once(stage: StageTrained) -> None:
        stages.append(stage.stage)
        if not killed:
            killed.append(own_processes(victim)[-1].pid)
            os.kill(killed[0], signal.SIGKILL)

    raymu.train(config, str(tmp_path / "run"), progress=kill_once).close()
    assert killed
    if victim != SHARD:  # its stages are kept, and not trained again
        assert stages == [0, 1, 2]
    train_run(config, tmp_path / "calm")
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "calm")


def test_a_model_that_fails_in_training_is_one_line_and_not_tried_again(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = config_of_two(tmp_path)
    failing = raymu.Config.parse(config.tree() | {"training": {"learning_rate": 1e25, "epochs": 4}})
    with pytest.raises(TrainingFailed, match="shard 0 could not be trained: in stage 0 its weights became infinite"):
        raymu.train(failing, str(tmp_path / "run"))
