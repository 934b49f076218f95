"""Tensors to bytes and back: safetensors, never pickle."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import safetensors.torch
import torch

from raymu.errors import FileCorrupt

Tensors: TypeAlias = Mapping[str, torch.Tensor]
"""Name -> tensor."""


def serialize(tensors: Tensors, metadata: Mapping[str, Any]) -> bytes:
    """Write a safetensors file.

    Args:
        tensors: By name.
        metadata: JSON values. They become one entry, so that equal content gives equal bytes.
    """
    # Cloned: safetensors refuses tensors that share memory, as tied weights do.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return safetensors.torch.save(own, metadata={"raymu": json.dumps(metadata, sort_keys=True)})


def deserialize(payload: bytes, *, source: str) -> dict[str, torch.Tensor]:
    """Read the tensors of a safetensors file. Raises FileCorrupt, naming `source`."""
    try:
        return safetensors.torch.load(payload)
    except safetensors.SafetensorError as error:
        raise FileCorrupt(source, f"not a safetensors file ({error})") from error


def read_metadata(payload: bytes) -> dict[str, Any]:
    """Read the metadata that `serialize` wrote.

    The header is parsed here, because `safetensors.safe_open(...).metadata()` reads files only, and payloads come from
    object stores and from other processes. It is a length (8 bytes, little-endian) and so much JSON.
    """
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    metadata: dict[str, Any] = json.loads(header["__metadata__"]["raymu"])
    return metadata


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
