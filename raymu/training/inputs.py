"""Inputs of a model: a tensor, several by name, or values that become tensors batch by batch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias, runtime_checkable

import pyarrow as pa
import torch
from torch import Tensor

from raymu.core.input_spec import InputSpec, InputSpecs

Index: TypeAlias = Tensor | slice
"""(samples,) int64, or consecutive samples."""


@runtime_checkable
class Selectable(Protocol):
    """Values of samples that can be selected."""

    def __len__(self) -> int: ...

    def select(self, index: Index) -> Self:
        """Select samples, in this order."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ragged:
    """Sequences of different lengths, one a sample."""

    values: Tensor
    """(all values, *shape), sequence after sequence."""
    offsets: Tensor
    """(samples + 1,) int64, where each sequence begins in `values`, and where the last one ends."""

    @classmethod
    def of(cls, values: Tensor, lengths: Tensor) -> "Ragged":
        """Cut values into sequences. lengths: (samples,)"""
        return cls(values=values, offsets=torch.cat([torch.zeros(1, dtype=torch.int64), lengths.long().cumsum(0)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """(samples,) int64."""
        return self.offsets.diff()

    def select(self, index: Index) -> "Ragged":
        """Select sequences, in this order."""
        starts, lengths = self.offsets[:-1][index], self.lengths[index]
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        places = torch.arange(int(offsets[-1])) + torch.repeat_interleave(starts - offsets[:-1], lengths)
        return Ragged(values=self.values[places], offsets=offsets)

    def padded(self, fill: float = 0, *, longest: int | None = None) -> Tensor:
        """Return all sequences at one length, (samples, longest, *shape), filled up at their ends.

        Args:
            fill: The value to fill up with.
            longest: The length; sequences beyond it are cut. The default is that of the longest one, and at least 1.
        """
        length = max(1, int(self.lengths.max()) if len(self) else 1) if longest is None else longest
        padded = self.values.new_full((len(self), length, *self.values.shape[1:]), fill)
        is_there = self.mask(length)
        is_kept = self._positions() < length
        padded[is_there] = self.values[is_kept]
        return padded

    def mask(self, longest: int | None = None) -> Tensor:
        """Tell which places of `padded` hold values: (samples, longest) bool."""
        length = max(1, int(self.lengths.max()) if len(self) else 1) if longest is None else longest
        return torch.arange(length)[None, :] < self.lengths[:, None]

    def _positions(self) -> Tensor:
        """Return the place of each value in its own sequence."""
        return torch.arange(len(self.values)) - torch.repeat_interleave(self.offsets[:-1], self.lengths)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Encoded:
    """Values of any type as Arrow has them, such as pictures in files' formats, until a batch decodes its own."""

    array: pa.Array
    """(samples,)."""

    def __len__(self) -> int:
        return len(self.array)

    def select(self, index: Index) -> "Encoded":
        """Select values, in this order."""
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            return Encoded(array=self.array.slice(start, max(0, stop - start)))
        return Encoded(array=self.array.take(pa.array(index.numpy())))


Part: TypeAlias = Tensor | Selectable
Inputs: TypeAlias = Part | Mapping[str, Part]
"""Samples, encoded: what a task keeps in memory of them."""
BatchInputs: TypeAlias = Tensor | Mapping[str, Tensor]
"""Samples as a model takes them. By name, they are its keyword arguments."""


def specs_of(batch: BatchInputs) -> dict[str, InputSpec]:
    """Describe a batch of inputs."""
    parts = batch.items() if isinstance(batch, Mapping) else [("", batch)]
    return {
        name: InputSpec(dtype=str(part.dtype).removeprefix("torch."), shape=tuple(part.shape[1:]))
        for name, part in parts
    }


def blank(specs: InputSpecs, samples: int, device: torch.device) -> BatchInputs:
    """Return so many samples of zeros."""
    if set(specs) == {""}:
        return _zeros(specs[""], samples, device)
    return {name: _zeros(spec, samples, device) for name, spec in specs.items()}


def _zeros(spec: InputSpec, samples: int, device: torch.device) -> Tensor:
    dtype: torch.dtype = getattr(torch, spec.dtype)
    return torch.zeros(samples, *spec.shape, dtype=dtype, device=device)


def count(inputs: Inputs) -> int:
    """Count the samples."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)


def select(inputs: Inputs, index: Index) -> Inputs:
    """Select samples, in this order."""
    if isinstance(inputs, Mapping):
        return {name: _select(part, index) for name, part in inputs.items()}
    return _select(inputs, index)


def _select(part: Part, index: Index) -> Part:
    if isinstance(part, Tensor):
        # Several times as quick as an indexed tensor: whole samples are copied, not values one by one.
        return part[index] if isinstance(index, slice) else part.index_select(0, index.to(part.device))
    return part.select(index)


def split(batch: BatchInputs, sizes: list[int]) -> Iterator[BatchInputs]:
    """Cut a batch into parts of consecutive samples, which share its memory."""
    if isinstance(batch, Tensor):
        yield from batch.split(sizes)
        return
    start = 0
    for size in sizes:
        yield {name: part[start : start + size] for name, part in batch.items()}
        start += size


def to_device(inputs: Inputs, device: torch.device) -> Inputs:
    """Move the tensors to a device. Other parts stay in memory."""
    if isinstance(inputs, Mapping):
        return {name: _to_device(part, device) for name, part in inputs.items()}
    return _to_device(inputs, device)


def _to_device(part: Part, device: torch.device) -> Part:
    return part.to(device) if isinstance(part, Tensor) else part


def batch_of(inputs: Inputs) -> BatchInputs:
    """Return inputs that are tensors all through. Raises TypeError for others, which a task must make tensors of."""
    parts = inputs if isinstance(inputs, Mapping) else {"": inputs}
    for name, part in parts.items():
        if not isinstance(part, Tensor):
            where = f" {name}" if name else ""
            raise TypeError(f"input{where} is {type(part).__name__} and no tensor; the task's collate makes tensors")
    return inputs  # type: ignore[return-value]  # checked


def repeated(batch: BatchInputs, times: int) -> BatchInputs:
    """Repeat every sample, each beside its copies."""
    if isinstance(batch, Tensor):
        return batch.repeat_interleave(times, dim=0)
    return {name: part.repeat_interleave(times, dim=0) for name, part in batch.items()}
