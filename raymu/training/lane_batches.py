"""The batches of a lane: those of its shards side by side, each filled up to the configured size.

A batch is filled up with its own first sample, at weight 0. So every operation has the shape that the settings give it, and
nothing about one place depends on what the others hold.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raymu.core.partition import Indices
from raymu.training.batches import BatchPlan
from raymu.training.encoder import PreparedSamples
from raymu.training.inputs import BatchInputs

_CHUNK_VALUES = 2**26
"""Values of inputs that are gathered at once for several steps. The step's place within them follows from the settings."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlacedEpoch:
    """One epoch of a shard, at its place of the lane."""

    place: int
    samples: PreparedSamples
    targets: Tensor
    """(samples,) or (samples, outputs)."""
    batches: BatchPlan
    rates: Sequence[float]
    """Learning rate of each step."""
    draws: Tensor | None
    """(samples,) int64, a seed for each sample; None if the task draws nothing."""

    def filled(self, size: int) -> Indices:
        """Return the samples of each batch, filled up: (batches, size) int64."""
        sizes = np.array(self.batches.sizes, dtype=np.int64)
        starts = np.cumsum(sizes) - sizes
        column = np.arange(size)
        rows = starts[:, None] + np.where(column < sizes[:, None], column, 0)
        return self.batches.positions[rows]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LaneStep:
    """The batches of one step. A place without one holds zeros."""

    inputs: BatchInputs
    """(places, batch size, ...)."""
    targets: Tensor
    """(places, batch size) or (places, batch size, outputs)."""
    weights: Tensor
    """(places, batch size) float32: 1 over the samples of a batch, and 0 for what fills it up."""
    samples: Tensor
    """(places,) float64: samples of each batch."""
    rates: Tensor
    """(places,) float64."""
    is_active: npt.NDArray[np.bool_]
    """(places,) which places have a batch."""


def lane_steps(
    epochs: Sequence[PlacedEpoch], *, width: int, batch_size: int, device: torch.device
) -> Generator[LaneStep]:
    """Yield the steps of one epoch of a lane, as many as its longest shard has.

    Args:
        epochs: Of the shards that are trained, at least one.
        width: Places of the lane.
        batch_size: Largest number of samples of a batch, which all are filled up to.
        device: That trains.
    """
    steps = max(len(epoch.batches.sizes) for epoch in epochs)
    sizes, rates = np.zeros((steps, width), dtype=np.int64), np.zeros((steps, width))
    for epoch in epochs:
        sizes[: len(epoch.batches.sizes), epoch.place] = epoch.batches.sizes
        rates[: len(epoch.rates), epoch.place] = epoch.rates
    is_sample = np.arange(batch_size) < sizes[:, :, None]
    weights = np.where(is_sample, 1.0 / np.maximum(sizes, 1)[:, :, None], 0.0).astype(np.float32)
    on_device = [torch.from_numpy(array).to(device) for array in (weights, sizes.astype(np.float64), rates)]
    with closing(_batches(epochs, steps, width=width, batch_size=batch_size)) as batches:
        for step, (inputs, targets) in enumerate(batches):
            yield LaneStep(
                inputs=inputs,
                targets=targets,
                weights=on_device[0][step],
                samples=on_device[1][step],
                rates=on_device[2][step],
                is_active=sizes[step] > 0,
            )


def _batches(
    epochs: Sequence[PlacedEpoch], steps: int, *, width: int, batch_size: int
) -> Generator[tuple[BatchInputs, Tensor]]:
    first = epochs[0].samples
    if first.encoder.task.is_collated:
        yield from _collated(epochs, steps, width=width, batch_size=batch_size)
        return
    parts = first.inputs.values() if isinstance(first.inputs, dict) else [first.inputs]
    values = sum(part[:1].numel() for part in parts if isinstance(part, Tensor))
    chunk = max(1, _CHUNK_VALUES // max(1, width * batch_size * values))
    filled = [epoch.filled(batch_size) for epoch in epochs]
    for start in range(0, steps, chunk):
        length = min(chunk, steps - start)
        stacked_inputs, stacked_targets = _Stacked((length, width)), _Stacked((length, width))
        for epoch, positions in zip(epochs, filled, strict=True):
            rows = positions[start : start + chunk]
            if not len(rows):
                continue
            with closing(epoch.samples.batches(rows.reshape(-1), [rows.size], None)) as gathered:
                batch = next(gathered)
            order = torch.from_numpy(rows).to(epoch.targets.device)
            stacked_inputs.put((slice(0, len(rows)), epoch.place), _cut(batch, len(rows), batch_size))
            stacked_targets.put((slice(0, len(rows)), epoch.place), epoch.targets[order])
        for step in range(length):
            yield stacked_inputs.get(step), _tensor(stacked_targets.get(step))


def _collated(
    epochs: Sequence[PlacedEpoch], steps: int, *, width: int, batch_size: int
) -> Generator[tuple[BatchInputs, Tensor]]:
    """Yield batches that are made one by one, such as pictures."""
    with ExitStack() as stack:
        filled = [epoch.filled(batch_size) for epoch in epochs]
        made = [
            stack.enter_context(closing(epoch.samples.batches(rows.reshape(-1), [batch_size] * len(rows), epoch.draws)))
            for epoch, rows in zip(epochs, filled, strict=True)
        ]
        for step in range(steps):
            inputs, targets = _Stacked((width,)), _Stacked((width,))
            for epoch, rows, batches in zip(epochs, filled, made, strict=True):
                if step < len(rows):
                    order = torch.from_numpy(rows[step]).to(epoch.targets.device)
                    inputs.put((epoch.place,), next(batches))
                    targets.put((epoch.place,), epoch.targets[order])
            yield inputs.get(), _tensor(targets.get())


class _Stacked:
    """Tensors of all places, of zeros where nothing was put."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        """Begin. sizes: of the leading dimensions"""
        self._sizes = sizes
        self._parts: dict[str | None, Tensor] = {}

    def put(self, index: tuple[int | slice, ...], batch: BatchInputs) -> None:
        """Put a batch at an index of the leading dimensions. Raises ValueError if others have another shape."""
        ahead = sum(isinstance(part, slice) for part in index)
        for name, part in _named(batch).items():
            shape = (*self._sizes, *part.shape[ahead:])
            if name not in self._parts:
                self._parts[name] = part.new_zeros(shape)
            if self._parts[name].shape != shape:
                raise ValueError(
                    "the batches of a lane have several shapes; pad all samples to one length, or set "
                    "cluster.shards_per_lane: 1"
                )
            self._parts[name][index] = part

    def get(self, step: int | None = None) -> BatchInputs:
        """Return what was put, or one step of it."""
        parts = {name: part if step is None else part[step] for name, part in self._parts.items()}
        return parts[None] if None in parts else {str(name): part for name, part in parts.items()}


def _named(batch: BatchInputs) -> Mapping[str | None, Tensor]:
    return dict(batch.items()) if isinstance(batch, Mapping) else {None: batch}


def _cut(batch: BatchInputs, steps: int, size: int) -> BatchInputs:
    """Cut (steps * size, ...) into (steps, size, ...)."""
    if isinstance(batch, Mapping):
        return {name: part.unflatten(0, (steps, size)) for name, part in batch.items()}
    return batch.unflatten(0, (steps, size))


def _tensor(batch: BatchInputs) -> Tensor:
    assert isinstance(batch, Tensor), "targets are one tensor"
    return batch
