"""Recorded updates: what the steps of a stage changed, one row for each fixed batch or for each step, and their file.

Recorders are hooks of the optimizer; the training loop does not know them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from raymu.training.batches import BatchPlan, ShardSamples
from raymu.training.checkpoint_format import deserialize, serialize


class UpdateRecorder(Protocol):
    """Keeps the updates of one stage while it trains."""

    def register_hooks(self, optimizer: Optimizer) -> Iterable[RemovableHandle]:
        """See every step of the optimizer from now on."""
        ...

    def begin_epoch(self, batches: BatchPlan, samples: ShardSamples) -> None:
        """Expect one step for each of these batches."""
        ...

    def log(self) -> "UpdateLog":
        """Return the recorded updates."""
        ...


@contextmanager
def recording(recorder: UpdateRecorder | None, optimizer: Optimizer) -> Iterator[None]:
    """Let a recorder see the optimizer's steps; without a recorder, do nothing."""
    hooks = recorder.register_hooks(optimizer) if recorder else ()
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(kw_only=True, slots=True, eq=False)
class UpdateLog:
    """Recorded updates of one stage.

    A forgotten member leaves its entry behind, so no row loses its place or its size. The entry is never counted again:
    all rows that held it are consumed, and later patches subtract only rows that lost no member.
    """

    updates: Tensor
    """(rows, parameters) float16, one group or one step per row; zero once subtracted."""
    members: Tensor
    """(entries,) int64, the hashes of the samples in each row, row after row; 0 for a forgotten sample."""
    sizes: Tensor
    """(rows,) int64, members of each row when it was recorded, which share its update."""
    consumed: Tensor
    """(rows,) bool, subtracted already. In the file it is called `spent`."""

    @classmethod
    def load(cls, payload: bytes, *, source: str) -> "UpdateLog":
        """Read a file that `dump` wrote. Raises FileCorrupt, naming `source`."""
        tensors = deserialize(payload, source=source)
        return cls(consumed=tensors.pop("spent"), **tensors)

    def dump(self) -> bytes:
        """Write a safetensors file."""
        tensors = {"updates": self.updates, "members": self.members, "sizes": self.sizes, "spent": self.consumed}
        return serialize(tensors, {})

    def forgotten_by_row(self, forget: ShardSamples) -> Tensor:
        """Count each row's members that are to be forgotten. Returns (rows,) int64."""
        rows = torch.repeat_interleave(torch.arange(len(self.sizes)), self.sizes)
        return torch.bincount(rows[self._holds(forget)], minlength=len(self.sizes))

    def has_unconsumed(self, forget: ShardSamples) -> Tensor:
        """Tell which of these samples are in a row that is not consumed. Returns (samples,) bool."""
        is_left = torch.repeat_interleave(~self.consumed, self.sizes)
        return torch.isin(_signed(forget), self.members[is_left])

    def erase_members(self, forget: ShardSamples) -> None:
        """Remove everything that names these samples."""
        self.members[self._holds(forget)] = 0

    def subtract_rows(self, shares: Tensor) -> Tensor:
        """Sum the rows, each times its share, and zero those with a share: no update is subtracted twice.

        Args:
            shares: (rows,) within [0, 1].

        Returns:
            (parameters,) float32.
        """
        total = torch.zeros(self.updates.shape[1])
        for row in torch.nonzero(shares).flatten().tolist():
            total.add_(self.updates[row], alpha=float(shares[row]))  # in place: far quicker than an indexed sum
            self.updates[row] = 0
            self.consumed[row] = True
        return total

    def _holds(self, samples: ShardSamples) -> Tensor:
        return torch.isin(self.members, _signed(samples))


def _signed(samples: ShardSamples) -> Tensor:
    """Return the hashes as `UpdateLog.members` has them: (samples,) int64."""
    return torch.from_numpy(samples.hashes.view(np.int64))


class GroupRecorder:
    """One row per fixed batch: the sum of its steps over the stage's epochs. For plain SGD only."""

    def __init__(self, model: nn.Module, rows: int) -> None:
        """Make room for the updates. rows: number of fixed batches of the stage"""
        self._parameters = list(model.parameters())
        widths = [parameter.numel() for parameter in self._parameters]
        self._updates = _zeros(rows, sum(widths), self._parameters[0].device)
        self._views = [
            [part.view_as(parameter) for part, parameter in zip(row.split(widths), self._parameters, strict=True)]
            for row in self._updates
        ]
        self._members: dict[int, Tensor] = {}
        self._rows: Iterator[int] = iter(())  # of the batches that are still to come in this epoch

    def register_hooks(self, optimizer: Optimizer) -> Iterable[RemovableHandle]:
        return (optimizer.register_step_pre_hook(self._before_step),)

    def begin_epoch(self, batches: BatchPlan, samples: ShardSamples) -> None:
        self._rows = iter(batches.keys)
        if not self._members:  # the same in every epoch
            self._members = dict(zip(batches.keys, _members(batches, samples), strict=True))

    def _before_step(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        # The update of plain SGD is known before the step, so the weights need not be copied.
        settings = optimizer.param_groups[0]
        rate, decay = settings["lr"], settings["weight_decay"]
        for view, parameter in zip(self._views[next(self._rows)], self._parameters, strict=True):
            if parameter.grad is not None:
                view.add_(parameter.grad, alpha=-rate)
                if decay:
                    view.add_(parameter.detach(), alpha=-rate * decay)

    def log(self) -> UpdateLog:
        members = [self._members.get(row, torch.zeros(0, dtype=torch.int64)) for row in range(len(self._updates))]
        return _log(_halved(self._updates), members)


class BatchRecorder:
    """One row per step."""

    def __init__(self, model: nn.Module) -> None:
        """Make room for the weights before a step."""
        self._parameters = list(model.parameters())
        widths = [parameter.numel() for parameter in self._parameters]
        dtype = reduce(torch.promote_types, {parameter.dtype for parameter in self._parameters})
        self._change = torch.empty(sum(widths), dtype=dtype, device=self._parameters[0].device)
        self._views = [
            part.view_as(parameter)
            for part, parameter in zip(self._change.split(widths), self._parameters, strict=True)
        ]
        self._epochs: list[Tensor] = []
        self._members: list[Tensor] = []
        self._rows: Iterator[Tensor] = iter(())  # of the steps that are still to come in this epoch

    def register_hooks(self, optimizer: Optimizer) -> Iterable[RemovableHandle]:
        return optimizer.register_step_pre_hook(self._before_step), optimizer.register_step_post_hook(self._after_step)

    def begin_epoch(self, batches: BatchPlan, samples: ShardSamples) -> None:
        self._members.extend(_members(batches, samples))
        updates = _empty_halves(len(batches.sizes), len(self._change), self._change.device)
        self._epochs.append(updates)
        self._rows = iter(updates)

    def _before_step(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        for before, parameter in zip(self._views, self._parameters, strict=True):
            before.copy_(parameter.detach())

    def _after_step(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        for change, parameter in zip(self._views, self._parameters, strict=True):
            torch.sub(parameter.detach(), change, out=change)
        next(self._rows).copy_(self._change)

    def log(self) -> UpdateLog:
        assert next(self._rows, None) is None, "every step of the last epoch wrote its row"
        epochs = self._epochs or [_empty_halves(0, len(self._change), self._change.device)]
        rows, width = sum(map(len, epochs)), len(self._change)
        updates = epochs[0] if len(epochs) == 1 else torch.cat(epochs, out=_empty_halves(rows, width, epochs[0].device))
        return _log(updates.cpu(), self._members)


def _zeros(rows: int, width: int, device: torch.device) -> Tensor:
    """Return (rows, width) float32 zeros. NumPy's large pages are 0 already, and are written to by nobody."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros((rows, width), dtype=np.float32))
    return torch.zeros(rows, width, device=device)


def _empty_halves(rows: int, width: int, device: torch.device) -> Tensor:
    """Return (rows, width) float16 of any content, on a CPU in NumPy's large pages."""
    if device.type == "cpu":
        return torch.from_numpy(np.empty((rows, width), dtype=np.float16))
    return torch.empty(rows, width, dtype=torch.float16, device=device)


def _halved(updates: Tensor) -> Tensor:
    """Return updates as float16 on the CPU."""
    rows, width = updates.shape
    return _empty_halves(rows, width, updates.device).copy_(updates).cpu()


def _members(batches: BatchPlan, samples: ShardSamples) -> tuple[Tensor, ...]:
    hashes = torch.from_numpy(samples.hashes[batches.positions].view(np.int64))
    return hashes.split(list(batches.sizes))


def _log(updates: Tensor, members: list[Tensor]) -> UpdateLog:
    """Return a log of updates, (rows, parameters) float16, none of which is subtracted yet."""
    sizes = torch.tensor([len(row) for row in members], dtype=torch.int64)
    return UpdateLog(
        updates=updates,
        members=torch.cat(members) if members else torch.zeros(0, dtype=torch.int64),
        sizes=sizes,
        consumed=torch.zeros(len(sizes), dtype=torch.bool),
    )
