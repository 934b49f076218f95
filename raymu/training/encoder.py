"""A task, fitted to the samples of one shard: what turns rows into batches, and labels into targets."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from raymu.core.arrays import Targets
from raymu.core.partition import Indices
from raymu.data.rows import Rows
from raymu.data.stored_rows import StoredRows, read_rows
from raymu.training.checkpoint_format import Tensors, strip_prefix
from raymu.training.inputs import BatchInputs, Index, Inputs, batch_of, count, select, split, to_device
from raymu.training.loading import made_ahead
from raymu.training.stored_inputs import StoredInputs, on_device_ahead, read_inputs
from raymu.training.tasks import Fitted, Task
from raymu.training.tasks.tensor import TensorTask

_TARGET = "target."
_IS_FITTED = "fitted"
"""Name of a tensor that says that a task is fitted, if it learns nothing. It has no prefix, so that no task gives it."""
_GATHERED_VALUES = 2**22
"""Values that are gathered at once for several batches, which is quicker than a gather for each."""
_CACHED_VALUES = 2**18
"""Values that are gathered at once on a CPU, if they are in memory: they stay in its cache until they are trained on."""
_ALIGNED_VALUES = 16
"""Values of float32 between two addresses of which a matrix product gives the same bits. Those of other ones may differ."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Encoder:
    """A fitted task."""

    task: Task
    fitted: Fitted
    target_mean: Tensor | None = None
    """(outputs,) float32, subtracted from targets that are numbers; None for classes and labels."""
    target_scale: Tensor | None = None
    """(outputs,) float32, which targets are multiplied by then."""

    @classmethod
    def fit(cls, task: Task, rows: Rows | StoredRows, labels: Targets, *, scales_targets: bool) -> "Encoder":
        """Fit a task to samples.

        Args:
            task: The task of the run.
            rows: The samples of the first slice that has any. Later slices may be forgotten by restoring an earlier
                checkpoint, which must not know them.
            labels: Their targets.
            scales_targets: Whether targets are numbers, and standardised.
        """
        mean, scale = _scaling(labels) if scales_targets else (None, None)
        fitted = task.fit_stored(rows) if isinstance(rows, StoredRows) else task.fit_rows(rows)
        return cls(task=task, fitted=fitted, target_mean=mean, target_scale=scale)

    def refit(self, rows: Rows | StoredRows) -> "Encoder":
        """Fit again to the samples that are left, for a patch. Targets keep their scale, which the outputs have."""
        return Encoder(
            task=self.task,
            fitted=self.task.refit_rows(read_rows(rows), self.fitted),
            target_mean=self.target_mean,
            target_scale=self.target_scale,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return what was learned, by the names that it has in a checkpoint."""
        prefix = _prefix(self.task)
        named = {f"{prefix}{name}": tensor for name, tensor in self.fitted.items()} or {_IS_FITTED: torch.ones(1)}
        if self.target_mean is not None and self.target_scale is not None:
            named |= {f"{_TARGET}mean": self.target_mean, f"{_TARGET}scale": self.target_scale}
        return named

    @classmethod
    def load(cls, task: Task, tensors: Tensors) -> "Encoder | None":
        """Read what `tensors` returned; None if a checkpoint has nothing of it, since it was never trained."""
        fitted = strip_prefix(tensors, _prefix(task))
        if not fitted and _IS_FITTED not in tensors:
            return None
        target = strip_prefix(tensors, _TARGET)
        return cls(task=task, fitted=fitted, target_mean=target.get("mean"), target_scale=target.get("scale"))

    def prepare(self, rows: Rows | StoredRows, device: torch.device, *, loading_threads: int = 0) -> "PreparedSamples":
        """Encode samples, to make batches of them. Those on a disk are encoded batch by batch, if the task allows it.

        Args:
            rows: The samples.
            device: That computes on them.
            loading_threads: Threads that make batches ahead.
        """
        inputs: Inputs
        if isinstance(rows, StoredRows) and self.task.encodes_each_alone:
            inputs = StoredInputs(rows=rows, task=self.task, fitted=self.fitted)
        else:
            inputs = self.task.prepare_rows(read_rows(rows), self.fitted, device)
        return PreparedSamples(encoder=self, inputs=inputs, device=device, loading_threads=loading_threads)

    def targets(self, labels: Targets, device: torch.device) -> Tensor:
        """Return targets as the loss takes them, on the device."""
        targets = torch.from_numpy(np.array(labels))
        if self.target_mean is not None and self.target_scale is not None:
            targets = (targets - self.target_mean) * self.target_scale
        return targets.to(device)

    def in_units_of_targets(self, numbers: Tensor) -> Tensor:
        """Undo the standardisation of targets."""
        if self.target_mean is None or self.target_scale is None:
            return numbers
        return numbers / self.target_scale.to(numbers.device) + self.target_mean.to(numbers.device)


def _prefix(task: Task) -> str:
    return "normalizer." if isinstance(task, TensorTask) else "task."


def _scaling(labels: Targets) -> tuple[Tensor, Tensor]:
    deviation = labels.std(axis=0, dtype=np.float64)
    scale = 1.0 / np.where(deviation > 0.0, deviation, 1.0)
    mean = labels.mean(axis=0, dtype=np.float64)
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(scale.astype(np.float32))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedSamples:
    """Samples as a model takes them, batch by batch, on a device."""

    encoder: Encoder
    inputs: Inputs
    device: torch.device
    loading_threads: int = 0
    """Threads that make batches ahead of the step, for a task that allows it."""

    def __len__(self) -> int:
        return count(self.inputs)

    def first(self, samples: int) -> "PreparedSamples":
        """Return the first samples."""
        return replace(self, inputs=select(self.inputs, slice(0, samples)))

    def all(self) -> BatchInputs:
        """Return all samples as one batch, with nothing drawn."""
        return self._batch(self._collated(slice(None), None))

    def split(self, size: int) -> Generator[BatchInputs]:
        """Yield batches of consecutive samples, with nothing drawn."""
        return self._loaded([slice(start, start + size) for start in range(0, len(self), size)], None)

    def collated_parts(self, size: int) -> Generator[Inputs]:
        """Yield batches of consecutive samples before `Task.normalize`, which may differ between shards."""
        parts = [slice(start, start + size) for start in range(0, len(self), size)]
        threads = self.loading_threads if self.encoder.task.collates_ahead else 0
        with closing(made_ahead(partial(self._collated, draws=None), parts, threads=threads)) as made:
            yield from made

    def even_parts(self, size: int) -> Iterator[BatchInputs]:
        """Yield parts of nearly equal size, with nothing drawn: all have the same weight in an average."""
        parts = -(-len(self) // size)
        bounds = [part.tolist()[-1] + 1 for part in torch.tensor_split(torch.arange(len(self)), parts)]
        return self._loaded([slice(*pair) for pair in zip([0, *bounds], bounds, strict=False)], None)

    def batches(self, positions: Indices, sizes: Sequence[int], draws: Tensor | None) -> Generator[BatchInputs]:
        """Yield the batches of an epoch.

        Args:
            positions: (samples,) the samples in training order, batch after batch.
            sizes: Samples of each batch.
            draws: (all samples,) int64, a seed for each sample; None if the task draws nothing.
        """
        order = torch.from_numpy(positions)
        if self.encoder.task.is_collated:
            return self._loaded(order.split(list(sizes)), draws)
        is_stored = isinstance(self.inputs, StoredInputs)
        return self._gathered(order if is_stored else order.to(self.device), list(sizes))

    def _gathered(self, order: Tensor, sizes: list[int]) -> Generator[BatchInputs]:
        """Yield batches as views of larger parts, each gathered at once."""
        widths = [part[:1].numel() for part in _tensors(read_inputs(self.first(1).inputs))]
        is_cached = self.device.type == "cpu" and not isinstance(self.inputs, StoredInputs)
        sizes_of = _gathered_together(sizes, widths, is_cached=is_cached)
        bounds = [0, *accumulate(map(sum, sizes_of))]
        parts = [order[start:end] for start, end in pairwise(bounds)]
        # What comes from a disk is read ahead of the steps.
        is_stored = isinstance(self.inputs, StoredInputs)
        with closing(made_ahead(self._read, parts, threads=int(is_stored))) as read:
            moved = on_device_ahead(read, self.device) if is_stored else read
            for part, part_sizes in zip(moved, sizes_of, strict=True):
                yield from split(self._batch(part), part_sizes)

    def _loaded(self, parts: Sequence[Index], draws: Tensor | None) -> Generator[BatchInputs]:
        """Yield a batch of each part. Threads make them ahead, if the task allows it; the device has one at a time."""
        threads = self.loading_threads if self.encoder.task.collates_ahead else 0
        if isinstance(self.inputs, StoredInputs) and not self.encoder.task.is_collated:
            threads = 1  # what comes from a disk is read ahead of the steps
        with closing(made_ahead(partial(self._collated, draws=draws), parts, threads=threads)) as made:
            yield from map(self._batch, made)

    def _read(self, part: Index) -> Inputs:
        """Return samples in memory: pinned, if they come from a disk and go to a GPU."""
        samples = select(self.inputs, part)
        return read_inputs(samples, is_pinned=self.device.type == "cuda")

    def _collated(self, part: Index, draws: Tensor | None) -> Inputs:
        samples, task = self._read(part), self.encoder.task
        if not task.is_collated:
            return samples
        return task.collate(samples, None if draws is None else draws[part])

    def _batch(self, collated: Inputs) -> BatchInputs:
        return self.encoder.task.normalize(batch_of(to_device(collated, self.device)), self.encoder.fitted)


def _gathered_together(sizes: Sequence[int], widths: Sequence[int], *, is_cached: bool) -> list[list[int]]:
    """Put batches together that are gathered at once.

    Args:
        sizes: Samples of each batch.
        widths: Values of a sample in each of its tensors.
        is_cached: Whether to gather no more at once than a CPU keeps in its cache. This moves no batch to an address of
            other alignment, so that it changes no bits.
    """
    width, together = max(1, sum(widths)), list[list[int]]()
    samples, waiting = 0, list[int]()
    for number, size in enumerate(sizes):
        waiting.append(size)
        samples += size
        is_full = samples * width >= _GATHERED_VALUES or number == len(sizes) - 1
        if is_cached and sum(waiting) * width >= _CACHED_VALUES:
            is_full |= all(samples * own % _ALIGNED_VALUES == 0 for own in widths)
        if is_full:
            together.append(waiting)
            waiting = []
        if samples * width >= _GATHERED_VALUES:
            samples = 0
    return together


def _tensors(inputs: Inputs) -> list[Tensor]:
    parts = inputs.values() if isinstance(inputs, dict) else [inputs]
    return [part for part in parts if isinstance(part, Tensor)]
