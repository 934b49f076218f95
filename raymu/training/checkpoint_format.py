"""Tensors to bytes and back: safetensors, never pickle."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch

from raymu.errors import FileCorrupt

Tensors = Mapping[str, torch.Tensor]


def serialize(tensors: Tensors, read_metadata: Mapping[str, Any]) -> bytes:
    """One safetensors file. about: JSON values, kept as one metadata entry, so that equal content gives equal bytes."""
    # Cloned: safetensors refuses tensors that share memory, as tied weights do.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return safetensors.torch.save(own, metadata={"raymu": json.dumps(read_metadata, sort_keys=True)})


def deserialize(payload: bytes, *, source: str) -> dict[str, torch.Tensor]:
    """Raises FileCorrupt, naming `source`."""
    try:
        return safetensors.torch.load(payload)
    except safetensors.SafetensorError as error:
        raise FileCorrupt(source, f"not a safetensors file ({error})") from error


def read_metadata(payload: bytes) -> dict[str, Any]:
    """The metadata entry that `pack` wrote."""
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    found: dict[str, Any] = json.loads(header["__metadata__"]["raymu"])
    return found


def weights_sha256(tensors: Tensors) -> str:
    """Hex SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def strip_prefix(tensors: Tensors, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
