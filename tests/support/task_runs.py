"""A table that every task can read some columns of, and the settings of a run for each task."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tests.support.pictures import discs_and_squares, encoded

ROWS = 60
OWN = "tests.unit.training.own_task"
OWN_MODEL = {"factory": f"{OWN}:build_model"}


def make_task_table() -> pa.Table:
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
            "city": [None if number % 7 == 0 else f"city {number % 5}" for number in range(ROWS)],
            "since": pa.array(np.arange(ROWS), pa.int32()).cast(pa.date32()),
            "picture": [encoded(pixels) for pixels in discs_and_squares(ROWS, side=6)[0]],
            "both": pa.array(np.stack([left > 0, left > right], axis=1).tolist(), pa.list_(pa.bool_())),
        }
    )


TASK_SETTINGS: Mapping[str, dict[str, Any]] = {
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
    "tabular": {
        "data": {"features": ["left", "city", "since"], "label": "kind"},
        "task": {"name": "tabular", "categories": 5},
        "model": {"name": "mlp", "hidden": [4]},
    },
    "image": {
        "data": {"features": "picture", "label": "price"},
        "task": {"name": "image", "size": 6, "augment": ["RandomHorizontalFlip"], "target": "regression"},
        "model": {"name": "cnn", "channels": [2], "hidden": 4, "dropout": 0.2},
    },
}
"""One run's settings for each task."""
