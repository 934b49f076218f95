"""Models: rows of a table, and any other one by its factory."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated

import torch
from pydantic import Field, validate_call
from torch import Tensor, nn
from torch.nn import functional as F

from raymu.config import ModelConfig, limits
from raymu.config.fields import Count, Fraction
from raymu.config.training import ModelName
from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.checkpoint_format import weights_sha256
from raymu.training.determinism import deterministic
from raymu.training.factories import call_factory, call_row
from raymu.training.losses import CrossEntropy, Loss
from raymu.training.model_state import ModelState, go_back, snapshot
from raymu.training.randomness import random_state_kept, seed_everything

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


def check_model(
    config: ModelConfig,
    *,
    input_shape: Shape,
    classes: int,
    loss: Loss | None = None,
    dtype: torch.dtype = torch.float32,
) -> bool:
    """Build the model twice, and try both out.

    Args:
        config: Settings of the model.
        input_shape: Shape of one sample's features.
        classes: How many the model tells apart.
        loss: Training loss. The default is cross-entropy.
        dtype: Type of its inputs.

    Returns:
        Whether the model has batch norm.

    Raises:
        ConfigInvalid: The model cannot be built or trained, or the second differs from the first: a shard that is
            trained again must start as it started before.
    """
    hashes = set()
    for _ in range(2):
        with deterministic(torch.device("cpu"), threads=1):  # one thread: a process that is forked later has no others
            seed_everything(0)
            model = build_model(config, input_shape=input_shape, classes=classes)
            try_out(model, input_shape=input_shape, classes=classes, loss=loss, dtype=dtype)
        hashes.add(weights_sha256(dict(model.named_parameters()) | dict(model.named_buffers())))
    if len(hashes) > 1:
        raise ConfigInvalid(
            "model.factory: gives another model each time; let the global generators of torch, NumPy and random alone "
            "decide on it"
        )
    return has_batch_norm(model)


def try_out(
    model: nn.Module,
    *,
    input_shape: Shape,
    classes: int,
    loss: Loss | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Predict two samples of zeros, and compute the gradient of three. Raises ConfigInvalid if that fails."""
    loss = loss or CrossEntropy()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigInvalid("model: has no parameters to train")
    model.eval()
    with torch.no_grad():
        _logits(model, 2, input_shape, classes, dtype)
    model.train()
    logits = _logits(model, 3, input_shape, classes, dtype)
    try:
        loss(logits, torch.zeros(3, dtype=torch.int64)).backward()
    except Exception as error:  # whatever the model's own code raises
        raise ConfigInvalid(f"model: cannot be trained ({one_line(error)})") from error
    try:
        ModelState(model).tensors()
    except ValueError as error:
        raise ConfigInvalid(
            f"model: its extra state is not what checkpoints have, tensors and JSON: {error}; keep it in buffers"
        ) from error


def _logits(model: nn.Module, samples: int, input_shape: Shape, classes: int, dtype: torch.dtype) -> Tensor:
    try:
        logits = model(torch.zeros(samples, *input_shape, dtype=dtype))
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
    """Tell whether any layer keeps running statistics of its batches."""
    kinds = nn.modules.batchnorm._BatchNorm
    return any(isinstance(module, kinds) and module.track_running_stats for module in model.modules())


def normalizes_batches(model: nn.Module) -> bool:
    """Tell whether any layer needs the statistics of a batch in training, which some sizes do not have."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def can_train_on(
    model: nn.Module,
    samples: int,
    *,
    input_shape: Shape,
    device: torch.device,
    loss: Loss | None = None,
    dtype: torch.dtype = torch.float32,
) -> bool:
    """Try a copy of a model in training on so many samples of zeros. The random state stays.

    Args:
        model: It stays as it is.
        samples: Samples of the batch.
        input_shape: Shape of one sample's features.
        device: The model's device.
        loss: Training loss. The default is cross-entropy.
        dtype: Type of its inputs.
    """
    with torch.no_grad(), random_state_kept(device), _trial(model) as trial:
        try:
            logits = trial.train()(torch.zeros(samples, *input_shape, dtype=dtype, device=device))
            (loss or CrossEntropy())(logits, torch.zeros(samples, dtype=torch.int64, device=device))
        except Exception:  # whatever the model's own code raises
            return False
    return bool(logits.ndim == 2 and len(logits) == samples and logits.isfinite().all())


@contextmanager
def _trial(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a copy of a model, or the model itself if it cannot be copied, and give its state back afterwards."""
    try:
        trial = copy.deepcopy(model)
    except Exception:  # such as a lock, or an open file
        state = snapshot(model)
        yield model
        go_back(model, state)
    else:
        yield trial


def _image_shape(input_shape: Shape, image_shape: Sequence[int] | None, *, halvings: int) -> Shape:
    """Determine channels, height and width: as configured, as the features have them, or a square."""
    shape = tuple(image_shape or input_shape)
    if len(shape) == 1 and math.isqrt(shape[0]) ** 2 == shape[0]:
        shape = (1, math.isqrt(shape[0]), math.isqrt(shape[0]))
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3 or math.prod(shape) != math.prod(input_shape):
        raise ConfigInvalid(
            f"model.image_shape: {input_shape} features are not an image of shape {shape}; give [c, h, w]"
        )
    if min(shape[1:]) < 2**halvings:
        raise ConfigInvalid(f"model.image_shape: {shape[1]}x{shape[2]} is too small to halve {halvings} times")
    return shape
