"""Pictures decoded to arrays of one size: from files' formats by Pillow, or from arrays."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from raymu.training.libraries import import_library

Resize: TypeAlias = Literal["squash", "crop"]
Picture: TypeAlias = bytes | npt.NDArray[Any]
"""A file's bytes, or uint8 or float32 of shape (height, width), (height, width, channels) or (channels, height, width)."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the grey of ITU-R 601, which Pillow uses too."""
_MODES: Mapping[int, str] = {1: "L", 3: "RGB"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoder:
    """Makes pictures of any size arrays of one size."""

    height: int
    width: int
    channels: int
    """1: grey, 3: red, green and blue."""
    resize: Resize
    """`squash` changes the proportions, `crop` cuts off what the size has no room for."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width

    def decode(self, picture: Picture) -> npt.NDArray[Any]:
        """Decode a picture. Returns (height, width, channels), uint8 or float32.

        Raises:
            Exception: It is damaged, of no known format, or has a strange shape. Pillow raises errors of many kinds.
        """
        if isinstance(picture, bytes):
            return self._sized(_opened(picture))
        array = in_rows(picture)
        if array.dtype == np.uint8 and array.shape != (self.height, self.width, self.channels):
            return self._sized(_pillow().fromarray(array[:, :, 0] if array.shape[2] == 1 else array))
        return array if array.dtype == np.uint8 else self._floats(array)

    def _sized(self, image: Any) -> npt.NDArray[Any]:
        if image.mode.startswith("I"):  # 16 bits a pixel
            image = _pillow().fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
        image = image.convert(_MODES[self.channels])
        size = (self.width, self.height)
        if image.size != size:
            bilinear = _pillow().Resampling.BILINEAR
            if self.resize == "squash":
                image = image.resize(size, bilinear)
            else:
                image = import_library("PIL.ImageOps", setting="task").fit(image, size, bilinear)
        return np.asarray(image).reshape(self.height, self.width, self.channels)

    def _floats(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if array.shape[2] == 3 and self.channels == 1:
            array = (array * np.array(_LUMA, dtype=np.float32)).sum(axis=2, keepdims=True)
        elif array.shape[2] == 1 and self.channels == 3:
            array = np.repeat(array, 3, axis=2)
        if array.shape[:2] == (self.height, self.width):
            return array
        pixels = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))[None]
        height, width = array.shape[:2]
        if self.resize == "crop":
            scale = max(self.height / height, self.width / width)
            size = max(self.height, round(height * scale)), max(self.width, round(width * scale))
        else:
            size = self.height, self.width
        pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)
        top, left = (size[0] - self.height) // 2, (size[1] - self.width) // 2
        cut = pixels[0, :, top : top + self.height, left : left + self.width]
        return cut.permute(1, 2, 0).numpy()


def in_rows(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a picture as (height, width, channels), without transparency. Raises ValueError for other shapes."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise ValueError(f"an array of shape {array.shape} is no picture: give (height, width) or (height, width, 3)")
    return np.ascontiguousarray(array[:, :, :3])


def _opened(data: bytes) -> Any:
    """Open a file, upright: cameras write in it how it was held."""
    image = _pillow().open(io.BytesIO(data), formats=_FORMATS)
    if "exif" in image.info:
        image = import_library("PIL.ImageOps", setting="task").exif_transpose(image)
    return image


def _pillow() -> ModuleType:
    global _image
    if _image is None:
        _image = import_library("PIL.Image", setting="task")
    return _image


_image: ModuleType | None = None
"""Looked up once: it is needed for every picture."""
