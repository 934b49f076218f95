"""Models of images: architectures of timm and torchvision."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue, validate_call
from torch import Tensor, nn

from raymu.config.fields import Count
from raymu.errors import ConfigInvalid
from raymu.text import did_you_mean
from raymu.training.architectures.weights import load_weights
from raymu.training.libraries import import_library

Shape = tuple[int, ...]
_COLOURS = 3
_NO_AUXILIARY = frozenset({"googlenet", "inception_v3"})
"""Architectures of torchvision with outputs that only their own training script uses."""


class ShapedImages(nn.Module):
    """Gives a model images in the shape that it takes."""

    def __init__(self, model: nn.Module, image: Shape, *, repeats: int) -> None:
        """Wrap a model.

        Args:
            model: It takes (samples, channels, height, width).
            image: Channels, height and width of the inputs, which may be flat.
            repeats: How often the channels are repeated, for a model of colour images that is called with grey ones.
        """
        super().__init__()
        self.model = model
        self._image, self._repeats = image, repeats

    def forward(self, images: Tensor) -> Tensor:
        images = images.reshape(len(images), *self._image)
        if self._repeats > 1:
            images = images.expand(-1, self._repeats, -1, -1)
        outputs: Tensor = self.model(images)
        return outputs


@validate_call
def build_timm(
    input_shape: Shape,
    classes: int,
    *,
    architecture: str,
    weights: str | None = None,
    image_shape: Sequence[Count] | None = None,
    settings: Mapping[str, JsonValue] | None = None,
) -> nn.Module:
    """Build an architecture of timm. settings: further arguments of `timm.create_model`"""
    timm = import_library("timm", setting="model")
    names = timm.list_models()
    if architecture not in names:
        raise unknown_architecture("timm", architecture, names)
    image = image_shape_of(input_shape, image_shape)
    arguments: dict[str, Any] = dict(settings or {})
    if _is_of_one_size(timm, architecture):
        arguments.setdefault("img_size", list(image[1:]))
    model = timm.create_model(architecture, pretrained=False, num_classes=classes, in_chans=image[0], **arguments)
    if weights is not None:
        load_weights(model, weights, head=model.get_classifier())
    return model if tuple(input_shape) == image else ShapedImages(model, image, repeats=1)


def _is_of_one_size(timm: Any, architecture: str) -> bool:
    return bool(timm.models.get_pretrained_cfg_value(architecture, "fixed_input_size"))


@validate_call
def build_torchvision(
    input_shape: Shape,
    classes: int,
    *,
    architecture: str,
    weights: str | None = None,
    image_shape: Sequence[Count] | None = None,
    settings: Mapping[str, JsonValue] | None = None,
) -> nn.Module:
    """Build a classifier of torchvision. settings: further arguments of the architecture"""
    models = import_library("torchvision.models", setting="model")
    names = models.list_models(module=models)
    if architecture not in names:
        raise unknown_architecture("torchvision", architecture, names)
    image = image_shape_of(input_shape, image_shape)
    if image[0] not in (1, _COLOURS):
        raise ConfigInvalid(
            f"model: torchvision's architectures take 1 or 3 channels, not {image[0]}; timm's take any number"
        )
    arguments: dict[str, Any] = dict(settings or {})
    if architecture.startswith("vit_"):
        arguments.setdefault("image_size", image[1])
    if architecture in _NO_AUXILIARY:
        arguments |= {"aux_logits": False, "init_weights": True}
    model = models.get_model(architecture, weights=None, num_classes=classes, **arguments)
    if weights is not None:
        parts = dict(model.named_children())
        load_weights(
            model,
            weights,
            head=next((parts[name] for name in ("fc", "classifier", "heads", "head") if name in parts), None),
        )
    repeats = _COLOURS // image[0]
    return model if tuple(input_shape) == image and repeats == 1 else ShapedImages(model, image, repeats=repeats)


def unknown_architecture(library: str, name: str, names: Sequence[str]) -> ConfigInvalid:
    """Return the error for an architecture that a library does not have."""
    return ConfigInvalid(
        f"model.architecture: {library} has no {name!r} among {len(names)} architectures{did_you_mean(name, names)}"
    )


def image_shape_of(input_shape: Shape, image_shape: Sequence[int] | None) -> Shape:
    """Determine channels, height and width: as configured, as the inputs have them, or a square. Raises ConfigInvalid."""
    shape = tuple(image_shape or input_shape)
    if len(shape) == 1 and math.isqrt(shape[0]) ** 2 == shape[0]:
        shape = (1, math.isqrt(shape[0]), math.isqrt(shape[0]))
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3 or math.prod(shape) != math.prod(input_shape):
        raise ConfigInvalid(
            f"model.image_shape: {tuple(input_shape)} features are not an image of shape {shape}; give [c, h, w]"
        )
    return shape
