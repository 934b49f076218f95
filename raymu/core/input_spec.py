"""The type and the shape of a model's inputs, as a run keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSpec:
    """One part of a sample's inputs to a model."""

    dtype: str
    """Such as `float32` or `int64`."""
    shape: tuple[int, ...]


InputSpecs: TypeAlias = Mapping[str, InputSpec]
"""Parts by name. A single tensor has the name of no character."""
