"""Factories of small models, losses and optimizers that keep state in all the places where code keeps it."""

import itertools
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

RNG = np.random.default_rng(5)
STEPS = [0]
PROJECTION = torch.from_numpy(np.random.default_rng().normal(size=(4, 4)).astype(np.float32))
LATE: dict[str, int] = {"steps": 0}
TICKS = itertools.count()
total = 0


class Warm(nn.Module):
    """A linear layer whose logits shrink from step to step, by a count that is kept somewhere."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.linear = kind, nn.Linear(4, 3)
        self.steps = 0
        if kind in ("persistent", "transient"):
            self.register_buffer("count", torch.zeros(()), persistent=kind == "persistent")
        elif kind == "lazy":
            self.register_buffer("count", None)
        elif kind == "tensor":
            self.count = torch.zeros(())

    def forward(self, inputs: Tensor) -> Tensor:
        if self.kind == "registered" and not hasattr(self, "count"):
            self.register_buffer("count", torch.zeros(()))
        if self.kind == "lazy" and self.count is None:
            self.count = torch.zeros(())
        if self.kind in ("attribute", "late", "extra"):
            self.steps += self.training
            past = max(0, self.steps - 500) if self.kind == "late" else self.steps
            return self.linear(inputs) * (1.0 + 1.0 / (1.0 + past))
        if self.training:
            self.count = self.count + 1
        return self.linear(inputs) * (1.0 + 1.0 / (1.0 + self.count))


class Extra(Warm):
    """Keeps its count in extra state."""

    def get_extra_state(self) -> dict[str, Any]:
        return {"steps": self.steps, "scale": torch.ones(2), "pair": (1, "a")}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        assert state["pair"] == (1, "a")
        assert state["scale"].tolist() == [1.0, 1.0]
        self.steps = state["steps"]


class OfClass(nn.Module):
    """Counts the steps of all models together."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            OfClass.steps += 1
        return self.linear(inputs) * (1.0 + 1.0 / (1.0 + OfClass.steps))


class OfModule(nn.Module):
    """Counts the steps of all models together, in a list of its module."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            STEPS[0] += 1
        return self.linear(inputs) * (1.0 + 1.0 / (1.0 + STEPS[0]))


class Drop(nn.Module):
    """Leaves a layer out at random."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.inner, self.outer, self.draw = nn.Linear(4, 4), nn.Linear(4, 3), draw

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            inputs = inputs + self.draw() * torch.relu(self.inner(inputs))
        return self.outer(inputs)


class Remembering(nn.Module):
    """Adds the mean of the last batches."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.last: deque[Tensor] = deque(maxlen=4)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.last.append(inputs.mean(0).detach())
        return self.linear(inputs + sum(self.last, torch.zeros(4)))


class Centring(nn.Module):
    """Predicts with a mean that it keeps by hand, and never trains with it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.mean = nn.Linear(4, 3), torch.zeros(4)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * inputs.mean(0).detach()
            return self.linear(inputs - inputs.mean(0))
        return self.linear(inputs - self.mean)


class Projecting(nn.Module):
    """Trains on inputs that are projected by what its module drew."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs @ PROJECTION)


class Averaged(nn.Module):
    """Predicts with an average of its weights, in a module that it hides in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.average = nn.Linear(4, 3), [nn.Linear(4, 3)]

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return self.average[0](inputs)
        with torch.no_grad():
            self.average[0].weight.lerp_(self.linear.weight, 0.1)
        return self.linear(inputs)


class Logging(nn.Module):
    """Counts its calls for a log, and depends on no count."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls, self.mask = nn.Linear(4, 3), 0, None
        self.register_buffer("infinite", torch.full((3,), -torch.inf), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(inputs)


class Counted(nn.Module):
    """Counts its steps somewhere, and gives other logits once the count is large, or in every 50th step."""

    of_all = 0

    def __init__(self, count: Callable[[], int], is_late: Callable[[int], bool]) -> None:
        super().__init__()
        self.linear, self.count, self.is_late = nn.Linear(4, 3), count, is_late

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs) * (1.5 if self.training and self.is_late(self.count()) else 1.0)


class Drawn(nn.Module):
    """Projects by fixed random numbers that no checkpoint has."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.projection = torch.randn(4, 6)
        self.shift: Tensor
        self.register_buffer("shift", torch.randn(6), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(torch.tanh(inputs @ self.projection + self.shift))


class Squeezing(nn.Module):
    """Loses the batch if it is of one sample."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs).squeeze()


class SteppedSgd(Optimizer):
    """Takes smaller steps by a count of its own."""

    def __init__(self, parameters: Iterator[nn.Parameter], rate: float) -> None:
        super().__init__(parameters, {"lr": rate})
        self.steps = 0

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        self.steps += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.data -= group["lr"] / self.steps * parameter.grad


def warm(kind: str) -> nn.Module:
    return Extra("extra") if kind == "extra" else Warm(kind)


def of_class() -> nn.Module:
    return OfClass()


def of_module() -> nn.Module:
    return OfModule()


def remembering() -> nn.Module:
    return Remembering()


def centring() -> nn.Module:
    return Centring()


def projecting() -> nn.Module:
    return Projecting()


def averaged() -> nn.Module:
    return Averaged()


def logging() -> nn.Module:
    return Logging()


def counted(where: str, late: str) -> nn.Module:
    """Return a model that counts in one of several places. late: when it depends on the count"""
    steps, members = 0, [0]

    def in_closure() -> int:
        nonlocal steps
        steps += 1
        return steps

    def in_list() -> int:
        members[0] += 1
        return members[0]

    def in_dictionary() -> int:
        LATE["steps"] += 1
        return LATE["steps"]

    def in_global() -> int:
        global total
        total += 1
        return total

    def in_class() -> int:
        Counted.of_all += 1
        return Counted.of_all

    def in_default(kept: list[int] = [0]) -> int:  # noqa: B006
        kept[0] += 1
        return kept[0]

    def in_function() -> int:
        in_function.steps = getattr(in_function, "steps", 0) + 1  # type: ignore[attr-defined]
        return int(in_function.steps)  # type: ignore[attr-defined]

    def generated() -> Iterator[int]:
        number = 0
        while True:
            number += 1
            yield number

    numbers = generated()
    counts: dict[str, Callable[[], int]] = {
        "closure": in_closure,
        "list": in_list,
        "dictionary": in_dictionary,
        "global": in_global,
        "class": in_class,
        "default": in_default,
        "function": in_function,
        "generator": lambda: next(numbers),
        "count": lambda: next(TICKS),
    }
    depends: dict[str, Callable[[int], bool]] = {
        "large": lambda count: count > 5_000,
        "fiftieth": lambda count: count % 50 == 0,
        "never": lambda _count: False,
    }
    return Counted(counts[where], depends[late])


def drawn() -> nn.Module:
    return Drawn()


def squeezing() -> nn.Module:
    return Squeezing()


def hooked() -> nn.Module:
    """Return a model whose hook counts in a variable of the factory."""
    steps = 0

    def shrink(module: nn.Module, _inputs: object, logits: Tensor) -> Tensor:
        nonlocal steps
        steps += module.training
        return logits / (1.0 + steps)

    model = nn.Sequential(nn.Linear(4, 3))
    model.register_forward_hook(shrink)
    return model


def drop(draw: str) -> nn.Module:
    torchs, pythons, numpys = torch.Generator().manual_seed(1), random.Random(1), np.random.default_rng(1)
    legacy = np.random.RandomState(1)
    draws: dict[str, Callable[[], float]] = {
        "random": random.random,
        "numpy": lambda: float(np.random.rand()),
        "torch.Generator": lambda: float(torch.rand((), generator=torchs)),
        "random.Random": pythons.random,
        "numpy.Generator": partial(numpys.uniform, 0.0, 1.0),
        "RandomState": lambda: float(legacy.rand()),
        "a module's generator": lambda: float(RNG.random()),
        "os.urandom": lambda: os.urandom(1)[0] / 256,
        "the time": lambda: time.time() % 1e-3 * 1e3,
        "SystemRandom": random.SystemRandom().random,
    }
    return Drop(draws[draw])


def counting_loss() -> Callable[[Tensor, Tensor], Tensor]:
    steps = [0]

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        steps[0] += 1
        return F.cross_entropy(outputs, targets, reduction="none") / steps[0]

    return loss


def stepped_sgd() -> Callable[[Iterator[nn.Parameter], float], Optimizer]:
    return SteppedSgd


def no_statistics() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.ReLU(), nn.Linear(8, 3))


class Ghost(nn.Module):
    """Batch norm over virtual batches."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.norm, self.size = nn.BatchNorm1d(width), size

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([self.norm(part) for part in inputs.split(self.size)]) if self.training else self.norm(inputs)


def ghost() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), Ghost(8, 4), nn.ReLU(), nn.Linear(8, 3))


def sparse() -> nn.Module:
    return Sparse()


class Sparse(nn.Module):
    """Looks the sign of the first feature up in a table with sparse gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.linear = nn.Embedding(3, 4, sparse=True), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs + self.table((inputs[:, 0] > 0).long()))
