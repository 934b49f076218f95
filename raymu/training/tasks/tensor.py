"""The task `tensor`: every sample is an array of numbers, which is standardised and given to the model as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from raymu.config.data import NormalizeSetting
from raymu.data.rows import Columns, Rows, as_array
from raymu.data.stored_rows import StoredRows
from raymu.training.inputs import BatchInputs, Inputs
from raymu.training.normalizer import BYTES, Normalizer
from raymu.training.tasks.task import Fitted, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorTask(Task):
    """Arrays of numbers of one shape."""

    encodes_each_alone: ClassVar[bool] = True

    normalize_setting: NormalizeSetting
    """`data.normalize`."""
    takes_integers: bool
    """Whether the model takes int64."""

    def fit_rows(self, rows: Rows) -> Fitted:
        assert not isinstance(rows, Columns)
        normalizer = Normalizer.fit(rows, self.normalize_setting, takes_integers=self.takes_integers)
        return normalizer.tensors()

    def fit_stored(self, rows: StoredRows) -> Fitted:
        if self.normalize_setting != "shard" or self.takes_integers:
            return self.fit_rows(rows[:1].read())  # nothing is learned but their type
        if as_array(rows[:1].read()).size == 1:  # NumPy adds a single column in another order; it is small
            return self.fit_rows(rows.read())
        return Normalizer.fit_parts(lambda: map(as_array, rows.parts())).tensors()

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
