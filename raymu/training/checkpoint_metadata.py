"""The metadata of a checkpoint, read without PyTorch."""

import json
from typing import Any


def read_metadata(payload: bytes) -> dict[str, Any]:
    """Read the metadata that `checkpoint_format.serialize` wrote.

    The header is parsed here, because `safetensors.safe_open(...).metadata()` reads files only, and payloads come from
    object stores and from other processes. It is a length (8 bytes, little-endian) and so much JSON.
    """
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    metadata: dict[str, Any] = json.loads(header["__metadata__"]["raymu"])
    return metadata
