"""The law for every task, over optimizers, ranks and remedies that hypothesis draws: forgetting gives the bits of a training
from a file that never held the samples."""

from collections.abc import Callable, Mapping
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

ROWS = 60
OWN = "tests.unit.training.own_task"
OWN_MODEL = {"factory": f"{OWN}:build_model"}


def make_table() -> pa.Table:
    """Return rows that every task can read some columns of."""
    random = np.random.default_rng(8)
    left, right = random.normal(size=(2, ROWS))
    words = [random.integers(1, 10, int(random.integers(0, 5))).tolist() for _ in range(ROWS)]
    return pa.table(
        {
            "id": np.arange(ROWS),
            "left": left,
            "right": right,
            "words": pa.array(words, pa.list_(pa.int64())),
            "kind": ["big" if total > 0 else "small" for total in left + right],
            "price": 1000.0 + 300.0 * left - 200.0 * right,
            "both": pa.array(np.stack([left > 0, left > right], axis=1).tolist(), pa.list_(pa.bool_())),
        }
    )


TASKS: Mapping[str, dict[str, Any]] = {
    "tensor": {"data": {"features": ["left", "right"], "label": "kind"}, "model": {"name": "mlp", "hidden": [4]}},
    "tensor, regression": {
        "data": {"features": ["left", "right"], "label": "price"},
        "task": {"name": "tensor", "target": "regression"},
        "model": {"name": "mlp", "hidden": [4]},
    },
    "own, labels": {
        "data": {"label": "both"},
        "task": {"factory": f"{OWN}:build_task", "target": "labels"},
        "model": OWN_MODEL,
    },
    "text": {
        "data": {"features": "words", "label": "kind"},
        "task": {"name": "text", "max_length": 4},
        "model": {"factory": "tests.system.training.text_model:build"},
    },
}
"""One run's settings for each task."""


@st.composite
def runs(draw: st.DrawFn, task: str) -> dict[str, Any]:
    """Draw the settings of a run."""
    optimizer = draw(st.sampled_from(["sgd", "adam", {"name": "sgd", "momentum": 0.9, "nesterov": True}, "rmsprop"]))
    return {
        "training": {"epochs": 3, "batch_size": 16, "optimizer": optimizer, "learning_rate": 0.02, "device": "cpu"},
        "partition": {"shards": 2, "slices": 2, "seed": draw(st.integers(0, 50))},
        "unlearning": {"boundary": 0.0, "calibration": draw(st.booleans()), "ohs": {"remedy": "fine_tune"}},
        "cluster": {"fleet": "local", "workers_per_shard": draw(st.sampled_from([1, 2]))},
        **TASKS[task],
    }


def trained(tree: dict[str, Any], table: pa.Table, folder: Path, act: Callable[[Any], None]) -> dict[int, str]:
    pq.write_table(table, folder.with_suffix(".parquet"))
    config = Config.parse(tree | {"data": {"train": str(folder.with_suffix(".parquet")), **tree["data"]}})
    with train(config, folder) as run:
        act(run)
    return repaired_weights(folder)


@pytest.mark.parametrize("task", TASKS)
@settings(
    max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_forgetting_is_training_without(task: str, data: st.DataObject) -> None:
    tree, table = data.draw(runs(task)), make_table()
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
    table = make_table()
    tree = {
        **TASKS["text"],
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
