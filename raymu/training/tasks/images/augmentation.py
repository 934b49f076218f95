"""Augmentation: transforms of torchvision, whose random numbers are each sample's own."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import ModuleType
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor
from torch.overrides import TorchFunctionMode

from raymu.errors import ConfigInvalid
from raymu.text import did_you_mean, one_line
from raymu.training.libraries import import_library
from raymu.training.randomness import random_state_kept

_SETTING = "task.augment"
_TRIALS = 16
"""Seeds that an augmentation is tried with, before anything is trained."""
_DRAWING: frozenset[Any] = frozenset(
    {
        *(getattr(torch, name) for name in ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "poisson")),
        *(getattr(torch, name) for name in ("rand_like", "randn_like", "randint_like", "multinomial")),
        *(getattr(torch, name) for name in ("_sample_dirichlet", "_standard_gamma") if hasattr(torch, name)),
        *(getattr(Tensor, name) for name in ("uniform_", "normal_", "random_", "bernoulli_", "exponential_")),
        *(getattr(Tensor, name) for name in ("geometric_", "cauchy_", "log_normal_", "bernoulli", "multinomial")),
    }
)
"""Functions that draw from torch's global generator, if they are given no other."""


_DRAW_FIRST = frozenset(
    {
        "ColorJitter",
        "GaussianBlur",
        "RandomAffine",
        "RandomCrop",
        "RandomErasing",
        "RandomGrayscale",
        "RandomHorizontalFlip",
        "RandomPerspective",
        "RandomResizedCrop",
        "RandomRotation",
        "RandomVerticalFlip",
    }
)
"""Transforms that draw everything before they touch a picture: in `make_params`, and nothing in `transform`."""


class DrawingFrom(TorchFunctionMode):
    """While it is active in a thread, torch's functions that are called there draw from one generator of its own.

    The global generator is shared by all threads: the model draws from it at the same time.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _DRAWING:
            return func(*args, **{"generator": self._generator, **(kwargs or {})})
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Transforms that are applied one after the other."""

    text: str
    """As `Augmentation.of` was given them, as JSON."""

    @classmethod
    def of(cls, transforms: Sequence[JsonValue]) -> "Augmentation":
        """Take names of classes of torchvision.transforms.v2, or objects of a name and arguments. Raises ConfigInvalid."""
        augmentation = cls(text=json.dumps(list(transforms), sort_keys=True))
        _built(augmentation.text)
        return augmentation

    def apply(self, pictures: Tensor, draws: Tensor) -> Tensor:
        """Transform pictures, each with the random numbers of its own seed.

        Args:
            pictures: (samples, channels, height, width).
            draws: (samples,) int64.

        Returns:
            Pictures of the same shape and type.
        """
        transform, generator = _built(self.text), torch.Generator()
        transformed = []
        parts, seeds = pictures.unbind(), draws.tolist()
        with DrawingFrom(generator):
            for picture, seed in zip(parts, seeds, strict=True):
                generator.manual_seed(seed)
                transformed.append(transform(picture))
        return torch.stack(transformed)

    def check(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Try the transforms on pictures of zeros. shape: channels, height and width. Raises ConfigInvalid."""
        transform, generator = _built(self.text), torch.Generator()
        with random_state_kept(torch.device("cpu")):
            before = torch.get_rng_state()
            for seed in range(_TRIALS):
                generator.manual_seed(seed)
                try:
                    with DrawingFrom(generator):
                        made = transform(torch.zeros(shape, dtype=dtype))
                except Exception as error:  # of any kind, by the transform
                    raise ConfigInvalid(
                        f"{_SETTING}: fails on a picture of shape {shape} ({one_line(error)}); change its arguments"
                    ) from error
                if not isinstance(made, Tensor) or (made.shape, made.dtype) != (shape, dtype):
                    raise ConfigInvalid(
                        f"{_SETTING}: makes {_described(made)} of {dtype} of shape {shape}; the last transform must give "
                        "back the type and the size of task.size"
                    )
            if not torch.equal(before, torch.get_rng_state()):
                raise ConfigInvalid(f"{_SETTING}: draws random numbers that are not each sample's own; leave it out")


def _described(made: Any) -> str:
    return f"{made.dtype} of shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__


@cache
def _built(text: str) -> Callable[[Any], Any]:
    library = import_library("torchvision.transforms.v2", setting=_SETTING)
    transforms: list[Callable[[Any], Any]] = [_transform(library, description) for description in json.loads(text)]

    def apply(picture: Any) -> Any:
        for transform in transforms:
            picture = transform(picture)
        return picture

    return apply


def _transform(library: ModuleType, description: Any) -> Callable[[Any], Any]:
    """Build one transform. Raises ConfigInvalid."""
    described = {"name": description} if isinstance(description, str) else description
    if not isinstance(described, dict) or not isinstance(described.get("name"), str):
        raise ConfigInvalid(f"{_SETTING}: give names of transforms, such as {{name: RandomCrop, size: 32, padding: 4}}")
    name, arguments = described["name"], {key: value for key, value in described.items() if key != "name"}
    kind: Any = getattr(library, name, None)
    if not inspect.isclass(kind) or not issubclass(kind, library.Transform):
        names = [each for each in dir(library) if inspect.isclass(getattr(library, each)) and each[0].isupper()]
        raise ConfigInvalid(
            f"{_SETTING}: torchvision.transforms.v2 has no {one_line(name)}{did_you_mean(name, names)}; "
            "use one of its classes"
        )
    try:
        transform: Any = kind(**{key: _argument(library, key, value) for key, value in arguments.items()})
    except ConfigInvalid:
        raise
    except Exception as error:  # whatever the class says of its arguments
        raise ConfigInvalid(f"{_SETTING}: {name} cannot be built ({one_line(error)}); check its arguments") from error
    if name in _DRAW_FIRST:
        transform.transform = _without_drawing(transform.transform)
    built: Callable[[Any], Any] = transform
    return built


def _without_drawing(work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that draws nothing, so that it need not be watched: that takes as long as the work."""

    def watched_by_nobody(*arguments: Any) -> Any:
        with torch._C.DisableTorchFunction():
            return work(*arguments)

    return watched_by_nobody


def _argument(library: ModuleType, key: str, value: Any) -> Any:
    """Return an argument as the class takes it: modes of interpolation and policies by their names."""
    if key == "transforms" and isinstance(value, list):
        return [_transform(library, description) for description in value]
    enums: Mapping[str, type[Enum]] = {"interpolation": library.InterpolationMode, "policy": library.AutoAugmentPolicy}
    if key in enums and isinstance(value, str):
        return enums[key](value)
    return value
