"""The task `tensor`: every sample is an array of numbers, which is standardised and given to the model as it is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from raymu.config.data import NormalizeSetting
from raymu.data.rows import Columns, Rows
from raymu.training.inputs import BatchInputs, Inputs
from raymu.training.normalizer import BYTES, Normalizer
from raymu.training.tasks.task import Fitted, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorTask(Task):
    """Arrays of numbers of one shape."""

    normalize_setting: NormalizeSetting
    """`data.normalize`."""
    takes_integers: bool
    """Whether the model takes int64."""

    def fit_rows(self, rows: Rows) -> Fitted:
        assert not isinstance(rows, Columns)
        normalizer = Normalizer.fit(rows, self.normalize_setting, takes_integers=self.takes_integers)
        return normalizer.tensors()

    def refit_rows(self, rows: Rows, fitted: Fitted) -> Fitted:
        return self.fit_rows(rows)

    def prepare_rows(self, rows: Rows, fitted: Fitted, device: torch.device) -> Inputs:
        """Normalise all samples at once. Bytes stay bytes, which take a quarter of the memory, until a batch is made."""
        assert not isinstance(rows, Columns)
        if rows.dtype in BYTES and not self.takes_integers:
            return torch.from_numpy(np.array(rows, order="C")).to(device)
        return Normalizer(**fitted).apply(rows, device)

    def normalize(self, batch: BatchInputs, fitted: Fitted) -> BatchInputs:
        assert not isinstance(batch, Mapping)
        if batch.dtype not in _BYTES or self.takes_integers:
            return batch
        return Normalizer(**fitted).apply_to(batch)


_BYTES: frozenset[torch.dtype] = frozenset({torch.uint8, torch.int8})
