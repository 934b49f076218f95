"""Models: rows of a table, and any other one by its factory."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from pydantic import Field, validate_call
from torch import Tensor, nn
from torch.nn import functional as F

from raymu.config import ModelConfig, limits
from raymu.config.fields import Count, Fraction
from raymu.config.training import ModelName
from raymu.errors import ConfigInvalid
from raymu.training.architectures.images import build_timm, build_torchvision, image_shape_of
from raymu.training.architectures.texts import build_transformers
from raymu.training.factories import call_factory, call_row

Shape = tuple[int, ...]
Width = Annotated[int, Field(ge=1, le=limits.MAX_WIDTH)]
Widths = Annotated[Sequence[Width], Field(max_length=limits.MAX_LAYERS)]


@validate_call
def build_logistic(input_shape: Shape, classes: int) -> nn.Module:
    """Build a softmax regression."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), classes))


@validate_call
def build_mlp(
    input_shape: Shape,
    classes: int,
    *,
    hidden: Widths = (256,),
    dropout: Fraction = 0.0,
    batch_norm: bool = False,
) -> nn.Module:
    """Build fully connected layers of the given widths with ReLU."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for units in hidden:
        layers.append(nn.Linear(width, units))
        if batch_norm:
            layers.append(nn.BatchNorm1d(units))
        layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = units
    return nn.Sequential(*layers, nn.Linear(width, classes))


@validate_call
def build_cnn(
    input_shape: Shape,
    classes: int,
    *,
    channels: Annotated[Widths, Field(min_length=1)] = (16, 32),
    hidden: Width = 128,
    dropout: Fraction = 0.0,
    image_shape: Sequence[Count] | None = None,
) -> nn.Module:
    """Build convolutions of 5x5 with max pooling, then one hidden layer (after LeNet: LeCun et al., 1998)."""
    image = _image_shape(input_shape, image_shape, halvings=len(channels))
    depth, height, width = image
    layers: list[nn.Module] = [nn.Unflatten(1, image)] if len(input_shape) == 1 else []
    if len(input_shape) == 2:
        layers = [nn.Unflatten(1, (1, height))]
    for filters in channels:
        layers += [nn.Conv2d(depth, filters, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        depth, height, width = filters, height // 2, width // 2
    layers += [nn.Flatten(), nn.Linear(depth * height * width, hidden), nn.ReLU()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(hidden, classes))


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., CVPR 2016, figure 2)."""

    def __init__(self, depth: int, filters: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(depth, filters, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(filters)
        self.second = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(filters)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or depth != filters:
            self.shortcut = nn.Sequential(
                nn.Conv2d(depth, filters, 1, stride=stride, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, images: Tensor) -> Tensor:
        inner = F.relu(self.first_norm(self.first(images)))
        return F.relu(self.second_norm(self.second(inner)) + self.shortcut(images))


@validate_call
def build_resnet(
    input_shape: Shape,
    classes: int,
    *,
    channels: Annotated[Widths, Field(min_length=1)] = (16, 32),
    blocks: Annotated[int, Field(ge=1, le=limits.MAX_LAYERS)] = 1,
    image_shape: Sequence[Count] | None = None,
) -> nn.Module:
    """Build a small residual network with batch norm: `blocks` blocks per width, each width at half the resolution."""
    image = _image_shape(input_shape, image_shape, halvings=len(channels) - 1)
    layers: list[nn.Module] = [nn.Unflatten(1, image)] if len(input_shape) == 1 else []
    if len(input_shape) == 2:
        layers = [nn.Unflatten(1, (1, image[1]))]
    layers += [nn.Conv2d(image[0], channels[0], 3, padding=1, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU()]
    depth = channels[0]
    for level, filters in enumerate(channels):
        for block in range(blocks):
            layers.append(_ResidualBlock(depth, filters, stride=2 if level and not block else 1))
            depth = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(depth, classes))


MODELS: Mapping[ModelName, Callable[..., nn.Module]] = {
    ModelName.LOGISTIC: build_logistic,
    ModelName.MLP: build_mlp,
    ModelName.CNN: build_cnn,
    ModelName.RESNET: build_resnet,
    ModelName.TIMM: build_timm,
    ModelName.TORCHVISION: build_torchvision,
    ModelName.TRANSFORMERS: build_transformers,
}
"""Each row takes the shape of one sample, the number of classes, and the user's keyword arguments."""


def build_model(config: ModelConfig, *, input_shape: Shape, classes: int) -> nn.Module:
    """Build the configured model, with weights from torch's random state.

    The model takes (samples, *input_shape) float32 and returns (samples, classes) logits. Raises ConfigInvalid.
    """
    if config.name is not None:
        built: nn.Module = call_row("model", config, MODELS[config.name], input_shape, classes)
        return built
    model = call_factory("model", config)
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        raise ConfigInvalid(f"model.factory: {config.factory} returned {kind}; it must return an nn.Module")
    return model


def has_batch_norm(model: nn.Module) -> bool:
    """Tell whether any layer keeps running statistics of its batches."""
    kinds = nn.modules.batchnorm._BatchNorm
    return any(isinstance(module, kinds) and module.track_running_stats for module in model.modules())


def normalizes_batches(model: nn.Module) -> bool:
    """Tell whether any layer needs the statistics of a batch in training, which some sizes do not have."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def _image_shape(input_shape: Shape, image_shape: Sequence[int] | None, *, halvings: int) -> Shape:
    """Determine channels, height and width: as configured, as the features have them, or a square."""
    shape = image_shape_of(input_shape, image_shape)
    if min(shape[1:]) < 2**halvings:
        raise ConfigInvalid(f"model.image_shape: {shape[1]}x{shape[2]} is too small to halve {halvings} times")
    return shape
