"""The base class of tasks: what a sample is, and how a model is called with a batch of them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import pyarrow as pa
import torch
from torch import Tensor, nn

from raymu.data.rows import Columns, Rows
from raymu.data.stored_rows import StoredRows
from raymu.training.inputs import BatchInputs, Inputs, to_device

Fitted: TypeAlias = Mapping[str, Tensor]
"""What a task learned from a shard's first slice, by name. Checkpoints keep it."""
NOTHING_FITTED: Fitted = {}


class Task:
    """What a sample is, and how a model is called with a batch of them.

    A task of your own is a subclass that has `encode`, and what else differs. A factory returns it:
    `task: {factory: my.module:build}`. Everything it does must depend on its arguments alone. What it learns of the data it
    learns in `fit`, from the samples that it is given there, and returns it.
    """

    columns: ClassVar[Sequence[str] | None] = None
    """The columns that are read. None reads those that `data.features` names."""
    encodes_alike: ClassVar[bool] = False
    """Whether `encode` and `collate` make the same of a sample whatever was fitted. Then the constituents of an export take
    one batch together."""
    collates_ahead: ClassVar[bool] = False
    """Whether `collate` may run in several threads, ahead of the step. Then it must not draw from torch's global generator,
    nor from Python's or NumPy's, whatever their state is set to: the model draws from these at the same time."""

    encodes_each_alone: ClassVar[bool] = False
    """Whether `encode` makes the same of a row whatever other rows are with it, and may run in a thread ahead of the step.
    Only then are the samples of a shard that is too large for its memory read batch by batch."""

    def check(self, rows: pa.Table, source: str) -> None:
        """Check samples, a part of a table at a time, before anything is made of them. By default every table is accepted.

        Args:
            rows: The columns of the samples.
            source: The table, for messages.

        Raises:
            DataInvalid: A sample does not fit.
        """

    def fit(self, rows: pa.Table) -> Fitted:
        """Learn from the samples of a shard's first slice, which later slices may not change.

        Args:
            rows: The columns of these samples.

        Returns:
            Tensors by name. By default there are none.
        """
        return NOTHING_FITTED

    def refit(self, rows: pa.Table, fitted: Fitted) -> Fitted:
        """Learn again from the samples that are left of the first slice, for a model that is patched and not retrained.

        The model goes on with the result, so that its inputs must keep their meaning. By default it is what `fit` returns.

        Args:
            rows: The columns of these samples.
            fitted: What was learned before.
        """
        return self.fit(rows)

    def encode(self, rows: pa.Table, fitted: Fitted) -> Inputs:
        """Convert samples to what is kept of them in memory while a shard is trained.

        Args:
            rows: The columns of the samples.
            fitted: What `fit` returned.

        Returns:
            A tensor, `raymu.Ragged` sequences, or several of these by name. Each has one entry for every row.
        """
        raise NotImplementedError

    def collate(self, inputs: Inputs, draws: Tensor | None) -> Inputs:
        """Make a batch of encoded samples: pad, decode or augment them. It runs on the CPU.

        Args:
            inputs: The samples of the batch, as `encode` returned them.
            draws: (samples,) int64, a seed for each sample, derived from its identity and from the epoch; None where
                nothing may be drawn, as in predictions.

        Returns:
            Tensors.
        """
        return inputs

    def normalize(self, batch: BatchInputs, fitted: Fitted) -> BatchInputs:
        """Make the model's inputs of a batch that is on the device. By default it is that batch."""
        return batch

    def forward(self, model: nn.Module, batch: BatchInputs) -> Tensor:
        """Call the model. Tensors that have names become keyword arguments.

        Returns:
            (samples, outputs).
        """
        outputs: Any = model(**batch) if isinstance(batch, Mapping) else model(batch)
        tensor: Tensor = getattr(outputs, "logits", outputs)  # as models of transformers return it
        return tensor

    @property
    def is_collated(self) -> bool:
        """Whether encoded samples are not yet tensors that the device can hold."""
        return type(self).collate is not Task.collate

    # raymu calls the task by these. They know samples that are no columns, too.

    def fit_rows(self, rows: Rows) -> Fitted:
        """Learn from rows."""
        return self.fit(_table(rows))

    def fit_stored(self, rows: StoredRows) -> Fitted:
        """Learn from rows on a disk. By default they are all read."""
        return self.fit_rows(rows.read())

    def refit_rows(self, rows: Rows, fitted: Fitted) -> Fitted:
        """Learn from rows again, for a model that is patched."""
        return self.refit(_table(rows), fitted)

    def prepare_rows(self, rows: Rows, fitted: Fitted, device: torch.device) -> Inputs:
        """Encode rows. Tensors that need no collation are moved to the device."""
        inputs = self.encode(_table(rows), fitted)
        return inputs if self.is_collated else to_device(inputs, device)


def _table(rows: Rows) -> pa.Table:
    assert isinstance(rows, Columns), "only the tensor task has rows that are an array"
    return rows.table
