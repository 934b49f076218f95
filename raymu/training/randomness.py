"""Random numbers: every generator that training can draw from is seeded from identity, and given back as it was."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from raymu.core.partition import derive_seed
from raymu.training.reachable import reachable

Generator: TypeAlias = torch.Generator | random.Random | np.random.Generator | np.random.RandomState
_KINDS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)


def seed_everything(seed: int, own: Mapping[str, Generator] | None = None) -> None:
    """Seed torch on the CPU and on GPUs, Python's `random`, NumPy's global generator, and generators that code keeps itself.

    Args:
        seed: 63 bits, derived from identity.
        own: Name -> a generator that the model, its loss or its optimizer keeps. Each gets a seed of its own.
    """
    if torch.backends.cuda.is_built():
        torch.manual_seed(seed)
    else:  # the same, without the text of the whole call stack that it keeps for each other kind of device
        torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(_words(seed))
    for name, generator in (own or {}).items():
        _seed(generator, derive_seed(seed, name))


def own_generators(roots: Mapping[str, object]) -> dict[str, Generator]:
    """Find the generators that code keeps itself, and that can be seeded. roots: name -> model, loss, optimizer"""
    shared = (torch.default_generator, np.random.mtrand._rand, getattr(random, "_inst"))  # noqa: B009
    generators = ((path, item) for path, item in reachable(roots) if isinstance(item, _KINDS))
    return {
        path: item
        for path, item in generators
        if not isinstance(item, random.SystemRandom) and not any(item is each for each in shared)
    }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RandomState:
    """The state of all generators at one time."""

    torch_state: torch.Tensor
    cuda_state: torch.Tensor | None
    python_state: tuple[Any, ...]
    numpy_state: Any
    own: tuple[tuple[Generator, Any], ...]
    """Generators that code keeps itself, each with its state."""

    @classmethod
    def now(cls, device: torch.device, own: Mapping[str, Generator] | None = None) -> "RandomState":
        """Take the present state. device: the GPU that is drawn on, or the CPU"""
        return cls(
            torch_state=torch.get_rng_state(),
            cuda_state=torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            python_state=random.getstate(),
            numpy_state=np.random.get_state(),
            own=tuple((generator, _state(generator)) for generator in (own or {}).values()),
        )

    def restore(self, device: torch.device) -> None:
        """Give every generator this state."""
        torch.set_rng_state(self.torch_state)
        if self.cuda_state is not None:
            torch.cuda.set_rng_state(self.cuda_state, device)
        random.setstate(self.python_state)
        np.random.set_state(self.numpy_state)
        for generator, state in self.own:
            _set_state(generator, state)


@contextmanager
def random_state_kept(device: torch.device, own: Mapping[str, Generator] | None = None) -> Iterator[None]:
    """Give all generators the state back that they have now, whatever is drawn meanwhile."""
    state = RandomState.now(device, own)
    try:
        yield
    finally:
        state.restore(device)


def _words(seed: int) -> list[int]:
    """Return a seed as NumPy takes it: words of 32 bits."""
    return [seed & 0xFFFFFFFF, seed >> 32]


def _seed(generator: Generator, seed: int) -> None:
    match generator:
        case torch.Generator():
            generator.manual_seed(seed)
        case random.Random():
            generator.seed(seed)
        case np.random.RandomState():
            generator.seed(_words(seed))
        case np.random.Generator():
            generator.bit_generator.state = type(generator.bit_generator)(seed).state


def _state(generator: Generator) -> Any:
    match generator:
        case torch.Generator():
            return generator.get_state()
        case random.Random():
            return generator.getstate()
        case np.random.RandomState():
            return generator.get_state()
        case _:
            return generator.bit_generator.state


def _set_state(generator: Generator, state: Any) -> None:
    match generator:
        case torch.Generator():
            generator.set_state(state)
        case random.Random():
            generator.setstate(state)
        case np.random.RandomState():
            generator.set_state(state)
        case _:
            generator.bit_generator.state = state
