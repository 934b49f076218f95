"""Built-in models, and any other one by its factory."""

import importlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError, validate_call
from torch import Tensor, nn
from torch.nn import functional as F

from raymu.config import ModelConfig
from raymu.config.fields import Count, Fraction
from raymu.config.validation_errors import format_validation_error
from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.checkpoint_format import weights_sha256
from raymu.training.determinism import deterministic

Shape = tuple[int, ...]
Widths = Annotated[Sequence[Count], Field(min_length=1)]


@validate_call
def build_logistic(input_shape: Shape, classes: int) -> nn.Module:
    """Softmax regression. Takes (samples, *input_shape) float32, returns (samples, classes) logits."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), classes))


@validate_call
def build_mlp(
    input_shape: Shape,
    classes: int,
    *,
    hidden: Sequence[Count] = (256,),
    dropout: Fraction = 0.0,
    batch_norm: bool = False,
) -> nn.Module:
    """Fully connected layers of the given widths with ReLU."""
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
    channels: Widths = (16, 32),
    hidden: Count = 128,
    dropout: Fraction = 0.0,
    image_shape: Sequence[Count] | None = None,
) -> nn.Module:
    """Convolutions of 5x5 with max pooling, then one hidden layer (after LeNet: LeCun et al., 1998)."""
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
    channels: Widths = (16, 32),
    blocks: Count = 1,
    image_shape: Sequence[Count] | None = None,
) -> nn.Module:
    """A small residual network with batch norm: `blocks` blocks per width, each width at half the resolution."""
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


MODELS: Mapping[str, Callable[..., nn.Module]] = {
    "logistic": build_logistic,
    "mlp": build_mlp,
    "cnn": build_cnn,
    "resnet": build_resnet,
}


def build_model(config: ModelConfig, *, input_shape: Shape, classes: int) -> nn.Module:
    """The configured model, freshly initialised from torch's random state. Raises ConfigInvalid.

    It takes (samples, *input_shape) float32 and returns (samples, classes) logits.
    """
    if config.factory is not None:
        return _from_factory(config.factory, config.args)
    build = MODELS.get(config.name or "")
    if build is None:
        raise ConfigInvalid(f"model.name: {config.name!r} is none of {', '.join(MODELS)}; or give model.factory")
    settings = list(inspect.signature(build).parameters)[2:]
    unknown = [name for name in config.args if name not in settings]
    if unknown:
        raise ConfigInvalid(
            f"model.{unknown[0]}: {config.name} has no such setting; it has {', '.join(settings) or 'none'}"
        )
    try:
        return build(input_shape, classes, **config.args)
    except ValidationError as error:
        raise ConfigInvalid(f"model.{format_validation_error(error)}") from error
    except RuntimeError as error:  # such as more weights than there is memory
        raise ConfigInvalid(f"model: {config.name} cannot be built ({one_line(error)}); check its size") from error


def _from_factory(factory: str, args: Mapping[str, Any]) -> nn.Module:
    place, _, name = factory.partition(":")
    if not place or not name:
        raise ConfigInvalid(f"model.factory: {factory!r} must read package.module:function")
    try:
        module = importlib.import_module(place)
    except (Exception, SystemExit) as error:  # its own code runs, and may raise anything
        raise ConfigInvalid(f"model.factory: {place} cannot be imported ({one_line(error)}); install it") from error
    build = getattr(module, name, None)
    if build is None:
        raise ConfigInvalid(f"model.factory: {place} has no {name}; check the name")
    try:
        model = build(**args)
    except (Exception, SystemExit) as error:  # whatever foreign code raises, the user must see which code it was
        raise ConfigInvalid(f"model.factory: {factory} failed ({one_line(error)}); check model.args") from error
    if not isinstance(model, nn.Module):
        raise ConfigInvalid(f"model.factory: {factory} returned {type(model).__name__}; it must return an nn.Module")
    return model


def check_model(config: ModelConfig, *, input_shape: Shape, classes: int) -> bool:
    """Build the model twice, and try both out. returns: whether it has batch norm

    Raises ConfigInvalid where it cannot be built or trained, or the second differs from the first: a shard that is
    trained again has to start as it started before.
    """
    built = set()
    for _ in range(2):
        with deterministic(torch.device("cpu"), threads=1):  # one thread: a process that is forked later has no others
            torch.manual_seed(0)
            model = build_model(config, input_shape=input_shape, classes=classes)
            try_out(model, input_shape=input_shape, classes=classes)
        built.add(weights_sha256(model.state_dict()))
    if len(built) > 1:
        raise ConfigInvalid("model.factory: gives another model each time; let torch's random state alone decide on it")
    return has_batch_norm(model)


def try_out(model: nn.Module, *, input_shape: Shape, classes: int) -> None:
    """Predict two samples of zeros, and train on three. Raises ConfigInvalid where the model fails, or its logits do."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigInvalid("model: has no parameters to train")
    model.eval()
    with torch.no_grad():
        _logits(model, 2, input_shape, classes)
    model.train()
    logits = _logits(model, 3, input_shape, classes)
    try:
        F.cross_entropy(logits, torch.zeros(3, dtype=torch.int64)).backward()
    except Exception as error:  # whatever the model's own code raises
        raise ConfigInvalid(f"model: cannot be trained ({one_line(error)})") from error
    foreign = [name for name, value in model.state_dict().items() if not isinstance(value, Tensor)]
    if foreign:
        raise ConfigInvalid(f"model: {foreign[0]} in its state is no tensor, and checkpoints hold nothing else")


def _logits(model: nn.Module, samples: int, input_shape: Shape, classes: int) -> Tensor:
    try:
        logits = model(torch.zeros(samples, *input_shape))
    except (Exception, SystemExit) as error:  # whatever the model's own code raises
        mode = "in training " if model.training else ""
        raise ConfigInvalid(f"model: fails {mode}on samples of shape {input_shape} ({one_line(error)})") from error
    if not isinstance(logits, Tensor) or logits.shape != (samples, classes) or not logits.is_floating_point():
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ConfigInvalid(
            f"model: gives {shape} for {samples} samples; it must give logits of shape ({samples}, {classes})"
        )
    return logits


def has_batch_norm(model: nn.Module) -> bool:
    """Whether any layer keeps running statistics of its batches."""
    kinds = nn.modules.batchnorm._BatchNorm
    return any(isinstance(module, kinds) and module.track_running_stats for module in model.modules())


def _image_shape(input_shape: Shape, given: Sequence[int] | None, *, halvings: int) -> Shape:
    """Channels, height, width: as given, as the features have it, or a square."""
    shape = tuple(given or input_shape)
    if len(shape) == 1 and math.isqrt(shape[0]) ** 2 == shape[0]:
        shape = (1, math.isqrt(shape[0]), math.isqrt(shape[0]))
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3 or math.prod(shape) != math.prod(input_shape):
        raise ConfigInvalid(f"model.image_shape: {input_shape} features are no image of shape {shape}; give [c, h, w]")
    if min(shape[1:]) < 2**halvings:
        raise ConfigInvalid(f"model.image_shape: {shape[1]}x{shape[2]} is too small to halve {halvings} times")
    return shape
