"""The normalisation of features before they enter a model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raymu.config import Normalization
from raymu.config.data import NormalizeSetting
from raymu.core.arrays import Features, Floats

PIXELS = (np.dtype(np.uint8), np.dtype(np.uint16))
"""Types whose whole range `unit` maps to [0, 1]; integers of other types are rarely pixels over all of their range."""
BYTES = (np.dtype(np.uint8), np.dtype(np.int8))
"""Types that are kept as they are until a batch is made: torch has them, and as floats they would take four times as much."""
CLIP_AT = 8.0
"""Standard deviations: a feature that hardly varies in the first slice would otherwise dominate all others."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Normalizer:
    """(x - mean) * scale, clipped to [-limit, limit].

    Computed in float64 where the run keeps its features in float64, and in float32 otherwise, as in version 0.1. For a model
    that takes integers, nothing is computed.
    """

    mean: Tensor
    """float32 or float64, broadcast against one sample; int64 for a model that takes integers."""
    scale: Tensor
    """Of the type of `mean`, broadcast against one sample."""
    limit: Tensor
    """(1,) float32."""

    @classmethod
    def fit(cls, features: Features, setting: NormalizeSetting, *, takes_integers: bool = False) -> "Normalizer":
        """Fit to features, or take what the setting fixes.

        Args:
            features: (samples, *shape) of the first slice that has samples. Later slices may be forgotten by restoring an
                earlier checkpoint, which must not know them.
            setting: `data.normalize`; `none` for a model that takes integers.
            takes_integers: Whether the model takes int64.
        """
        if takes_integers:
            nothing = torch.zeros(1, dtype=torch.int64)
            return cls(mean=nothing, scale=nothing + 1, limit=_tensor(np.full(1, np.inf)))
        mean, scale, limit = np.zeros(1), np.ones(1), np.inf
        match setting:
            case Normalization():
                mean, scale = np.full(1, setting.mean), np.full(1, 1.0 / setting.std)
                if features.dtype in PIXELS:  # published means and deviations are of pixels in [0, 1]
                    largest = np.iinfo(features.dtype).max
                    mean, scale = mean * largest, scale / largest
            case "unit":
                scale = np.full(1, 1.0 / np.iinfo(features.dtype).max)
            case "shard":
                mean = features.mean(axis=0, dtype=np.float64)
                return cls._of_moments(mean, features.std(axis=0, dtype=np.float64), features.dtype)
        precision = _precision(features.dtype)
        return cls(mean=_tensor(mean, precision), scale=_tensor(scale, precision), limit=_tensor(np.full(1, limit)))

    @classmethod
    def fit_parts(cls, parts: Callable[[], Iterator[Features]]) -> "Normalizer":
        """Fit `shard` to features that do not fit into memory, with the bits of `fit`.

        NumPy adds the rows of an array one after the other, so that each sum can go on with the next part.

        Args:
            parts: Yields the features, some samples after the other, each time that it is called.
        """
        dtype, total, samples = np.dtype(np.float32), None, 0
        for part in parts():
            dtype, samples = part.dtype, samples + len(part)
            total = _added(total, part)
        assert total is not None, "a first slice has samples"
        mean, squares = total / samples, None
        for part in parts():
            difference = part - mean
            squares = _added(squares, np.multiply(difference, difference, out=difference))
        assert squares is not None, "the same parts come again"
        return cls._of_moments(mean, np.sqrt(squares / samples), dtype)

    @classmethod
    def _of_moments(cls, mean: Floats, deviation: Floats, dtype: np.dtype[Any]) -> "Normalizer":
        scale, precision = 1.0 / np.where(deviation > 0.0, deviation, 1.0), _precision(dtype)
        return cls(mean=_tensor(mean, precision), scale=_tensor(scale, precision), limit=_tensor(np.full(1, CLIP_AT)))

    def apply(self, features: Features, device: torch.device) -> Tensor:
        """Normalise features. Returns (samples, *shape) float32, or int64 as they are, on the device."""
        if self.mean.dtype == torch.int64:
            return torch.from_numpy(np.array(features, dtype=np.int64, order="C")).to(device)
        if self.mean.dtype == torch.float64:  # on the CPU: not every device has float64
            wide = torch.from_numpy(np.array(features, dtype=np.float64, order="C"))
            values = wide.sub_(self.mean.cpu()).mul_(self.scale.cpu()).float().to(device)
        else:
            values = torch.from_numpy(np.array(features, dtype=np.float32, order="C")).to(device)
            values.sub_(self.mean.to(device)).mul_(self.scale.to(device))
        limit = float(self.limit)
        return values.clamp_(-limit, limit) if np.isfinite(limit) else values

    def apply_to(self, batch: Tensor) -> Tensor:
        """Normalise a batch of bytes on its device. Returns (samples, *shape) float32, of the bits that `apply` returns."""
        values = batch.float().sub_(self.mean.to(batch.device)).mul_(self.scale.to(batch.device))
        limit = float(self.limit)
        return values.clamp_(-limit, limit) if np.isfinite(limit) else values

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "scale": self.scale, "limit": self.limit}


def _added(total: Floats | None, part: Features) -> Floats:
    """Add the samples of a part to a sum of samples, (*shape,) float64, in their order."""
    if total is None:
        first: Floats = part.sum(axis=0, dtype=np.float64)
        return first
    rows: Floats = np.concatenate([total[None], part.astype(np.float64, copy=False)])
    added: Floats = rows.sum(axis=0)
    return added


def _precision(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    return np.float64 if dtype == np.float64 else np.float32


def _tensor(values: Floats, precision: type[np.floating[Any]] = np.float32) -> Tensor:
    return torch.from_numpy(values.astype(precision))
