"""The law of lanes: a run whose shards are trained side by side forgets exactly, whichever of them are trained again."""

import asyncio
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu import train
from raymu.config import Config
from raymu.core.records import Exactness, SampleId
from raymu.errors import ConfigInvalid, TrainingFailed, WorkerLost
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.store.run import RunStore
from raymu.training import lane
from tests.support.coordinated_run import ids_at
from tests.support.examples import create_run, make_config, repaired_weights, revoke, write_samples
from tests.support.task_runs import ROWS, TASK_SETTINGS, make_task_table
from tests.support.trained_runs import TrainedRunFactory, weights_without

LANE: dict[str, Any] = {
    "samples": {"samples": 150},
    "partition": {"shards": 5, "slices": 2},
    "cluster": {"shards_per_lane": 3},
}
RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {"training": {"momentum": 0.9, "batch_size": 7}},
    "adam and dropout": {
        "training": {"optimizer": "adam", "learning_rate": 0.01},
        "model": {"name": "mlp", "hidden": [6], "dropout": 0.3},
    },
    "rmsprop": {"training": {"optimizer": "rmsprop", "learning_rate": 0.01, "max_grad_norm": 0.5}},
}


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many shards each stage was trained of together."""
    counts: list[int] = []
    train_stage = lane.train_lane_stage

    def counted(trainers: Sequence[Any], samples: Sequence[Any], stage: int) -> list[int]:
        counts.append(len(trainers))
        return train_stage(trainers, samples, stage)

    monkeypatch.setattr("raymu.training.lane_stages.train_lane_stage", counted)
    return counts


@pytest.mark.parametrize("recipe", RECIPES)
def test_forgetting_in_one_shard_and_in_all_is_training_without(
    trained_run: TrainedRunFactory, widths: list[int], recipe: str
) -> None:
    run = trained_run(**LANE, **RECIPES[recipe])
    of_a_shard, of_all = run.ids(shard=1)[:3], [run.ids(shard=shard)[-1] for shard in range(5)]
    receipt = run.revoke(of_a_shard, strategy="sisa")
    assert receipt.exactness is Exactness.EXACT
    assert run.weights == weights_without(run.config, of_a_shard)
    widths.clear()
    run.revoke(of_all, strategy="sisa")
    assert max(widths) > 1, "repairs that wait share a lane"
    assert run.weights == weights_without(run.config, [*of_a_shard, *of_all])
    checks = verify(run.store, no_progress, replay=[0, 4]).checks
    assert [(check.checked, check.findings) for check in checks if check.name == "replay"] == [(2, ())]


def test_all_shards_of_a_lane_are_trained_together(tmp_path: Path, widths: list[int]) -> None:
    write_samples(tmp_path / "all.parquet", samples=150)
    config = make_config(tmp_path / "all.parquet", partition=LANE["partition"], cluster=LANE["cluster"])
    create_run(config, tmp_path / "run")
    assert widths == [3, 3, 2, 2]


def test_settled_patches_are_training_without(trained_run: TrainedRunFactory) -> None:
    run = trained_run(**LANE, unlearning={"boundary": 0.0})
    ids: list[SampleId] = [run.ids(shard=shard)[0] for shard in (0, 1, 3)]
    run.revoke(ids, strategy="ohs")
    run.settle()
    assert run.weights == weights_without(run.config, ids)


@pytest.mark.parametrize(
    "task", ["tabular", "image", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("text", "own, labels"))]
)
def test_tasks_forget_in_lanes(task: str, tmp_path: Path) -> None:
    table, gone = make_task_table(), [3, 7, 20, 31]
    tree: dict[str, Any] = {
        "training": {"epochs": 2, "batch_size": 16, "optimizer": "adam", "learning_rate": 0.02, "device": "cpu"},
        "partition": {"shards": 2, "slices": 2},
        "cluster": {"fleet": "local", "shards_per_lane": 2},
        **copy.deepcopy(TASK_SETTINGS[task]),
    }
    if task == "text":
        tree["task"]["padding"] = "longest"
    weights = []
    for name, rows in (("all", np.arange(ROWS)), ("fewer", np.setdiff1d(np.arange(ROWS), gone)[::-1])):
        pq.write_table(table.take(pa.array(rows)), tmp_path / f"{name}.parquet")
        data = {"train": str(tmp_path / f"{name}.parquet"), **TASK_SETTINGS[task]["data"]}
        with train(Config.parse(tree | {"data": data}), tmp_path / name) as run:
            if name == "all":
                run.revoke(gone, strategy="sisa")
        weights.append(repaired_weights(tmp_path / name))
    assert weights[0] == weights[1]


def test_early_stopping_is_of_each_shard(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet", samples=150)
    write_samples(tmp_path / "held-out.parquet", samples=30)
    held_out = pq.read_table(tmp_path / "held-out.parquet")
    held_out = held_out.set_column(0, "id", pa.array(range(30)))
    pq.write_table(held_out, tmp_path / "held-out.parquet")
    config = make_config(
        tmp_path / "all.parquet",
        partition=LANE["partition"],
        cluster=LANE["cluster"],
        training={"epochs": 9, "learning_rate": 0.5, "optimizer": "adam"},
        validation={"data": str(tmp_path / "held-out.parquet"), "patience": 1},
    )
    create_run(config, tmp_path / "run")
    forget = [ids_at(config, shard=shard)[2] for shard in (0, 2)]
    coordinator = Coordinator(RunStore(str(tmp_path / "run")), LocalFleet(RunStore(str(tmp_path / "run"))))
    revoke(coordinator, forget, strategy="sisa")
    assert repaired_weights(tmp_path / "run") == weights_without(config, forget)


def test_a_lane_that_fails_is_trained_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_samples(tmp_path / "all.parquet", samples=150)
    config = make_config(tmp_path / "all.parquet", partition=LANE["partition"], cluster=LANE["cluster"])
    train_stage = lane.train_lane_stage

    def failing(trainers: Sequence[Any], samples: Sequence[Any], stage: int) -> list[int]:
        if stage == 1:
            raise TrainingFailed(0, stage, "RuntimeError: out of memory")
        return train_stage(trainers, samples, stage)

    monkeypatch.setattr("raymu.training.lane_stages.train_lane_stage", failing)
    create_run(config, tmp_path / "run")
    monkeypatch.undo()
    assert repaired_weights(tmp_path / "run") == weights_without(config, ())


def test_a_lane_that_is_broken_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widths: list[int]) -> None:
    """Its shards resume after the stages that were written, together again."""
    write_samples(tmp_path / "all.parquet", samples=150)
    config = make_config(tmp_path / "all.parquet", partition=LANE["partition"], cluster=LANE["cluster"])
    train_stage = lane.train_lane_stage

    def failing(trainers: Sequence[Any], samples: Sequence[Any], stage: int) -> list[int]:
        if stage == 1:
            raise WorkerLost(trainers[0].shard, 1, "it ended")
        return train_stage(trainers, samples, stage)

    with monkeypatch.context() as patches:
        patches.setattr("raymu.training.lane_stages.train_lane_stage", failing)
        patches.setattr("raymu.training.trainer.train_lane_stage", failing)
        with pytest.raises(WorkerLost):
            create_run(config, tmp_path / "run")
    widths.clear()
    store = RunStore(str(tmp_path / "run"))
    coordinator = Coordinator(store, LocalFleet(store))
    asyncio.run(coordinator.train(no_progress))
    asyncio.run(coordinator.close())
    assert sorted(widths) == [2, 3], "stage 1 alone is left"
    assert repaired_weights(tmp_path / "run") == weights_without(config, ())


@pytest.mark.parametrize(
    ("branches", "problem"),
    [
        ({"model": {"name": "mlp", "hidden": [4], "batch_norm": True}}, "use layer norm or group norm"),
        ({"unlearning": {"contributions": "batch"}}, "use curvature or gradient"),
        ({"cluster": {"shards_per_lane": 6}}, "more than the 5 shards"),
        ({"training": {"compile": True}}, "training.compile is for shards that are trained one by one"),
        ({"cluster": {"shards_per_lane": 3, "workers_per_shard": 2}}, "workers_per_shard is for shards"),
    ],
)
def test_what_lanes_cannot_do_is_refused_before_anything_is_written(
    tmp_path: Path, branches: dict[str, Any], problem: str
) -> None:
    write_samples(tmp_path / "all.parquet", samples=150)
    with pytest.raises(ConfigInvalid, match=problem):
        prepare_run(
            make_config(
                tmp_path / "all.parquet", **{"partition": LANE["partition"], "cluster": LANE["cluster"], **branches}
            ),
            str(tmp_path / "run"),
        )
    assert not (tmp_path / "run").exists()
