"""The task `image`: every sample is a picture, which is decoded and augmented batch by batch."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field, JsonValue, validate_call
from torch import Tensor

from raymu.config import Normalization
from raymu.config.fields import LARGEST, SMALLEST, Number
from raymu.data.values import require_none_missing
from raymu.errors import ConfigInvalid, DataInvalid
from raymu.text import one_line, plural
from raymu.training.inputs import BatchInputs, Encoded, Inputs
from raymu.training.loading import made_ahead
from raymu.training.tasks.facts import TaskFacts
from raymu.training.tasks.images.augmentation import Augmentation
from raymu.training.tasks.images.columns import encoded_column, is_encoded, pictures, pixel_type
from raymu.training.tasks.images.decoding import Decoder, Resize
from raymu.training.tasks.task import Fitted, Task

Side: TypeAlias = Annotated[int, Field(ge=1, le=16_384)]
Deviation: TypeAlias = Annotated[float, Field(ge=SMALLEST, le=LARGEST)]
Setting: TypeAlias = Literal["imagenet", "unit", "shard", "none"]
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_AT_ONCE = 64
"""Pictures that are decoded at once, outside of training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelNormalization:
    """A mean and a standard deviation for each channel, or one for all, of pixels in [0, 1]."""

    mean: Number | tuple[Number, ...]
    std: Deviation | tuple[Deviation, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTask(Task):
    """Pictures, which stay as the table has them until a batch is made."""

    encodes_alike: ClassVar[bool] = True
    encodes_each_alone: ClassVar[bool] = True
    collates_ahead: ClassVar[bool] = True

    name: str
    """The column."""
    decoder: Decoder
    augmentation: Augmentation | None
    normalize_setting: Setting | ChannelNormalization

    def check(self, rows: pa.Table, source: str) -> None:
        column = self._checked(rows, source)
        if self.augmentation is not None:
            is_float = pixel_type(column.type) == np.float32
            self.augmentation.check(self.decoder.shape, torch.float32 if is_float else torch.uint8)
        parts = [column.slice(start, _AT_ONCE) for start in range(0, len(column), _AT_ONCE)]
        failures = [failure for part in made_ahead(self._failures, parts, threads=_threads()) for failure in part]
        if failures:
            raise DataInvalid(source, _failed(self.name, failures, len(column)))

    def fit(self, rows: pa.Table) -> Fitted:
        """Take the mean and the standard deviation of each channel: of these pictures, or as configured."""
        setting, channels = self.normalize_setting, self.decoder.channels
        column = self._column(rows)
        largest = 255.0 if pixel_type(column.type) == np.uint8 else 1.0
        mean, std = np.zeros(channels), np.ones(channels)
        match setting:
            case ChannelNormalization():
                mean, std = mean + np.array(setting.mean) * largest, std * np.array(setting.std) * largest
            case "imagenet":
                mean, std = np.array(_IMAGENET["mean"]) * largest, np.array(_IMAGENET["std"]) * largest
            case "unit":
                std = std * largest
            case "shard":
                mean, std = self._moments(column)
        return {"mean": _per_channel(mean), "scale": _per_channel(1.0 / std)}

    def encode(self, rows: pa.Table, fitted: Fitted) -> Inputs:
        return Encoded(array=self._checked(rows, "features"))

    def collate(self, inputs: Any, draws: Tensor | None) -> Inputs:
        """Decode the pictures of a batch, and augment them while the model is trained."""
        decoded = self._decoded(inputs.array)
        return decoded if draws is None or self.augmentation is None else self.augmentation.apply(decoded, draws)

    def normalize(self, batch: BatchInputs, fitted: Fitted) -> BatchInputs:
        """Make float32 of pictures that are bytes until then."""
        assert not isinstance(batch, Mapping)
        mean, scale = fitted["mean"].to(batch.device), fitted["scale"].to(batch.device)
        return batch.float().sub(mean).mul_(scale)

    def _column(self, rows: pa.Table) -> pa.Array:
        return encoded_column(rows[self.name].combine_chunks())

    def _checked(self, rows: pa.Table, source: str) -> pa.Array:
        """Return the column, which has pictures in all rows. Raises DataInvalid."""
        column = self._column(rows)
        if pixel_type(column.type) is None:
            kind = one_line(str(rows[self.name].type))
            raise DataInvalid(
                source,
                f"column {one_line(self.name)} is {kind}; the task image reads files' bytes (binary), or arrays as nested "
                "lists or tensors: (height, width) or (height, width, channels)",
            )
        require_none_missing(source, self.name, column.null_count)
        return column

    def _decoded(self, column: pa.Array) -> Tensor:
        """Return (samples, channels, height, width), uint8 or float32. Raises DataInvalid."""
        dtype = pixel_type(column.type)
        channels, height, width = self.decoder.shape
        decoded = np.empty((len(column), height, width, channels), dtype=dtype)
        try:
            for row, picture in enumerate(pictures(column)):
                decoded[row] = self.decoder.decode(picture)
        except ConfigInvalid:
            raise
        except Exception as error:  # Pillow raises errors of many kinds
            raise DataInvalid("features", _failed(self.name, self._failures(column), len(column))) from error
        return torch.from_numpy(decoded).permute(0, 3, 1, 2).contiguous()

    def _failures(self, column: pa.Array) -> list[str]:
        """Return why pictures cannot be decoded, a line for each of them."""
        return [error for index in range(len(column)) if (error := self._failure(column.slice(index, 1)))]

    def _failure(self, picture: pa.Array) -> str:
        try:
            self.decoder.decode(next(pictures(picture)))
        except ConfigInvalid:  # Pillow is not installed
            raise
        except Exception as error:
            return _reason(error, is_file=is_encoded(picture.type))
        return ""

    def _moments(self, column: pa.Array) -> tuple[Any, Any]:
        """Return the mean and the standard deviation of each channel. The sums of bytes are exact in any order."""
        parts = [column.slice(start, _AT_ONCE) for start in range(0, len(column), _AT_ONCE)]
        wide = np.int64 if pixel_type(column.type) == np.uint8 else np.float64
        total, squares, count = np.zeros(self.decoder.channels, wide), np.zeros(self.decoder.channels, wide), 0
        for pixels in made_ahead(self._decoded, parts, threads=_threads()):
            values = pixels.numpy().astype(wide)
            total += values.sum(axis=(0, 2, 3))
            squares += (values * values).sum(axis=(0, 2, 3))
            count += values[:, 0].size
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean * mean, 0.0))
        return mean, np.where(deviation > 0.0, deviation, 1.0)


def _threads() -> int:
    return min(4, os.cpu_count() or 1)


def _per_channel(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32).reshape(-1, 1, 1))


def _failed(name: str, failures: Sequence[str], pictures_: int) -> str:
    reasons = ", ".join(sorted(set(failures))[:3])
    return (
        f"{len(failures)} of {plural(pictures_, 'picture')} in column {one_line(name)} cannot be decoded ({reasons}); "
        "mend or drop them"
    )


def _reason(error: Exception, *, is_file: bool) -> str:
    """Return an error without addresses of memory, so that equal ones are one."""
    if is_file and type(error).__name__ == "UnidentifiedImageError":
        return "of no known format"
    return one_line(error)


@validate_call(config={"arbitrary_types_allowed": True})
def build_image(
    facts: TaskFacts,
    *,
    size: Side | tuple[Side, Side],
    channels: Literal[1, 3] = 3,
    resize: Resize = "squash",
    normalize: Setting | ChannelNormalization | None = None,
    augment: Sequence[JsonValue] = (),
) -> Task:
    """Build the task `image`.

    Args:
        facts: The column.
        size: Height and width that all pictures get, or one number for both.
        channels: 1 for grey, 3 for colours.
        resize: `squash` or `crop`.
        normalize: Of pixels in [0, 1]. The default is `data.normalize`.
        augment: Names of transforms of torchvision.transforms.v2, or objects of a name and arguments.
    """
    if len(facts.columns) != 1:
        raise ConfigInvalid("data.features: the task image reads one column; name it as text, not as a list")
    setting = facts.normalize if normalize is None else normalize
    if isinstance(setting, Normalization):
        setting = ChannelNormalization(mean=setting.mean, std=setting.std)
    if setting == "imagenet" and channels == 1:
        raise ConfigInvalid(
            "task.normalize: imagenet has three channels; set task.channels: 3, which grey pictures fit too"
        )
    if isinstance(setting, ChannelNormalization):
        for part in ("mean", "std"):
            values = getattr(setting, part)
            if isinstance(values, tuple) and len(values) != channels:
                raise ConfigInvalid(f"task.normalize: {part} has {len(values)} values for {channels} channels")
    height, width = (size, size) if isinstance(size, int) else size
    return ImageTask(
        name=facts.columns[0],
        decoder=Decoder(height=height, width=width, channels=channels, resize=resize),
        augmentation=Augmentation.of(augment) if augment else None,
        normalize_setting=setting,
    )
