import numpy as np
import pyarrow as pa
import pytest
import torch

from raymu.data.rows import Columns
from raymu.training.encoder import Encoder
from raymu.training.tasks import Fitted, Task

ROWS = Columns.of(pa.table({"x": [1.0, 2.0]}))
LABELS = np.array([0, 1])


class Named(Task):
    """A task that learns something under one name."""

    def __init__(self, name: str | None) -> None:
        self._name = name

    def fit(self, rows: pa.Table) -> Fitted:
        return {} if self._name is None else {self._name: torch.arange(rows.num_rows)}


@pytest.mark.parametrize("name", [None, "mean", "fitted"])
def test_what_a_task_learned_is_read_again_whatever_its_name(name: str | None) -> None:
    task = Named(name)
    encoder = Encoder.fit(task, ROWS, LABELS, scales_targets=False)
    restored = Encoder.load(task, encoder.tensors())
    assert restored is not None
    assert restored.fitted.keys() == encoder.fitted.keys()


def test_a_checkpoint_without_anything_fitted_has_no_encoder() -> None:
    assert Encoder.load(Named(None), {}) is None
