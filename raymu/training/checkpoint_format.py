"""Tensors to bytes and back: safetensors, never pickle."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

import safetensors.torch
import torch

from raymu.errors import FileCorrupt

Tensors: TypeAlias = Mapping[str, torch.Tensor]
"""Name -> tensor."""
Made = TypeVar("Made")


class Later(Generic[Made]):
    """A value that is made when it is first asked for, in the thread that asks. To another process it goes as it is made."""

    def __init__(self, make: Callable[[], Made]) -> None:
        """Remember how to make the value. make: called once, and dropped then with all that it refers to"""
        self._lock = threading.Lock()
        self._make: Callable[[], Made] | None = make
        self._made: Made | None = None

    def get(self) -> Made:
        """Return the value."""
        with self._lock:
            if self._make is not None:
                self._made, self._make = self._make(), None
        return self._made  # type: ignore[return-value]  # it is made, and may be None

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.get(),)


def _made(value: Made) -> Later[Made]:
    return Later(lambda: value)


def copied(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Copy tensors to the CPU, so that training can go on while the copies are written."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def serialize(tensors: Tensors, metadata: Mapping[str, Any]) -> bytes:
    """Write a safetensors file.

    Args:
        tensors: By name.
        metadata: JSON values. They become one entry, so that equal content gives equal bytes.
    """
    own: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        storage = plain.untyped_storage().data_ptr()
        own[name] = (
            plain.clone() if storage in storages else plain
        )  # safetensors refuses shared memory, as of tied weights
        storages.add(storage)
    return safetensors.torch.save(own, metadata={"raymu": json.dumps(metadata, sort_keys=True)})


def deserialize(payload: bytes, *, source: str) -> dict[str, torch.Tensor]:
    """Read the tensors of a safetensors file. Raises FileCorrupt, naming `source`."""
    try:
        return safetensors.torch.load(payload)
    except safetensors.SafetensorError as error:
        raise FileCorrupt(source, f"not a safetensors file ({error})") from error


def weights_sha256(tensors: Tensors) -> str:
    """Hash names, dtypes, shapes and bytes, in the order of the names. Returns hex SHA-256."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """Return the values of a tensor of any dtype and device as bytes, row by row."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def strip_prefix(tensors: Tensors, prefix: str) -> dict[str, torch.Tensor]:
    """Select the tensors whose names have a prefix, and remove it from the names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
