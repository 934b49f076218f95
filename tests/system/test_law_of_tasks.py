"""The law for every task, over optimizers, ranks and remedies that hypothesis draws: forgetting gives the bits of a training
from a file that never held the samples."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from raymu import train
from raymu.config import Config
from tests.support.examples import repaired_weights
from tests.support.task_runs import ROWS, TASK_SETTINGS, make_task_table


@st.composite
def runs(draw: st.DrawFn, task: str) -> dict[str, Any]:
    """Draw the settings of a run."""
    optimizer = draw(st.sampled_from(["sgd", "adam", {"name": "sgd", "momentum": 0.9, "nesterov": True}, "rmsprop"]))
    return {
        "training": {"epochs": 3, "batch_size": 16, "optimizer": optimizer, "learning_rate": 0.02, "device": "cpu"},
        "partition": {"shards": 2, "slices": 2, "seed": draw(st.integers(0, 50))},
        "unlearning": {"boundary": 0.0, "calibration": draw(st.booleans()), "ohs": {"remedy": "fine_tune"}},
        "cluster": {"fleet": "local", "workers_per_shard": draw(st.sampled_from([1, 2]))},
        **TASK_SETTINGS[task],
    }


def trained(tree: dict[str, Any], table: pa.Table, folder: Path, act: Callable[[Any], None]) -> dict[int, str]:
    pq.write_table(table, folder.with_suffix(".parquet"))
    config = Config.parse(tree | {"data": {"train": str(folder.with_suffix(".parquet")), **tree["data"]}})
    with train(config, folder) as run:
        act(run)
    return repaired_weights(folder)


@pytest.mark.parametrize("task", TASK_SETTINGS)
@settings(
    max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_forgetting_is_training_without(task: str, data: st.DataObject) -> None:
    tree, table = data.draw(runs(task)), make_task_table()
    gone = data.draw(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=6, unique=True))
    strategy = data.draw(st.sampled_from(["sisa", "dpus", "ohs"]))

    def forget(run: Any) -> None:
        run.revoke(gone, strategy=strategy)
        run.settle()

    kept = np.setdiff1d(np.arange(ROWS), gone)
    with TemporaryDirectory() as folder:
        forgotten = trained(tree, table, Path(folder) / "all", forget)
        scratch = trained(tree, table.take(pa.array(kept[::-1])), Path(folder) / "fewer", lambda _run: None)
    assert forgotten == scratch


def test_an_equal_run_differs_if_a_sample_differs() -> None:
    """The comparison above can fail."""
    table = make_task_table()
    tree = {
        **TASK_SETTINGS["text"],
        "training": {"epochs": 3, "device": "cpu"},
        "partition": {"shards": 1, "slices": 2},
        "cluster": {"fleet": "local"},
    }
    other = table.set_column(3, "words", pa.array([[1], *table["words"].to_pylist()[1:]], pa.list_(pa.int64())))
    with TemporaryDirectory() as folder:
        weights = [
            trained(tree, each, Path(folder) / name, lambda _run: None)
            for name, each in (("one", table), ("other", other))
        ]
    assert weights[0] != weights[1]
