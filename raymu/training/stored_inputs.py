"""Encoded samples of a shard that is larger than its memory: read from a disk and encoded as they are selected."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from raymu.data.stored_rows import StoredRows
from raymu.training.inputs import Index, Inputs, Part
from raymu.training.tasks import Fitted, Task

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredInputs:
    """Samples on a disk, and what encodes them."""

    rows: StoredRows
    task: Task
    """It encodes each sample alone, so that a batch has the bits that it has among all samples."""
    fitted: Fitted

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, index: Index) -> "StoredInputs":
        """Select samples, in this order. Nothing is read."""
        return replace(self, rows=self.rows[index if isinstance(index, slice) else index.cpu().numpy()])

    def read(self) -> Inputs:
        """Read and encode all of these samples, on the CPU."""
        return self.task.prepare_rows(self.rows.read(), self.fitted, _CPU)


def read_inputs(inputs: Inputs, *, is_pinned: bool = False) -> Inputs:
    """Return samples that are in memory, reading them if they are not.

    Args:
        inputs: Encoded samples.
        is_pinned: Whether what is read lies in memory from which a GPU copies by itself.
    """
    if not isinstance(inputs, StoredInputs):
        return inputs
    read = inputs.read()
    if not is_pinned:
        return read
    if isinstance(read, Mapping):
        return {name: _pinned(part) for name, part in read.items()}
    return _pinned(read)


def on_device_ahead(parts: Iterable[Inputs], device: torch.device) -> Iterator[Inputs]:
    """Move parts to a device. A GPU copies the next part, on a stream of its own, while it computes on this one."""
    if device.type != "cuda":
        yield from parts
        return
    side = torch.cuda.Stream(device)
    present: Inputs | None = None
    for part in parts:
        with torch.cuda.stream(side):
            following = _each(part, device)
        if present is not None:
            yield present
        torch.cuda.current_stream(device).wait_stream(side)
        for tensor in _tensors(following):
            tensor.record_stream(torch.cuda.current_stream(device))
        present = following
    if present is not None:
        yield present


def _each(inputs: Inputs, device: torch.device) -> Inputs:
    if isinstance(inputs, Mapping):
        return {name: _moved(part, device) for name, part in inputs.items()}
    return _moved(inputs, device)


def _moved(part: Part, device: torch.device) -> Part:
    return part.to(device, non_blocking=True) if isinstance(part, Tensor) else part


def _pinned(part: Part) -> Part:
    return part.pin_memory() if isinstance(part, Tensor) else part


def _tensors(inputs: Inputs) -> list[Tensor]:
    parts = inputs.values() if isinstance(inputs, Mapping) else [inputs]
    return [part for part in parts if isinstance(part, Tensor)]
