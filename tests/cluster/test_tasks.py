"""Tasks on Ray: actors give the bits of one process."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raymu import train
from raymu.config import Config
from tests.support.examples import repaired_weights
from tests.support.task_runs import TASK_SETTINGS, make_task_table

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.mark.parametrize("task", ["tabular", "image"])
def test_actors_give_the_bits_of_one_process(task: str, tmp_path: Path) -> None:
    settings = TASK_SETTINGS[task]
    pq.write_table(make_task_table(), tmp_path / "all.parquet")
    for fleet in ({"fleet": "ray", "live_actors": 1}, {"fleet": "local"}):
        tree = {
            **settings,
            "data": {"train": str(tmp_path / "all.parquet"), **settings["data"]},
            "training": {"epochs": 3, "batch_size": 16, "optimizer": "adam", "learning_rate": 0.02, "device": "cpu"},
            "partition": {"shards": 1, "slices": 2},
            "cluster": fleet,
        }
        with train(Config.parse(tree), tmp_path / str(fleet["fleet"])) as run:
            run.revoke([3, 7], strategy="sisa")
    assert repaired_weights(tmp_path / "ray") == repaired_weights(tmp_path / "local")
