"""Optimizers of torch.optim without PyTorch's compiler, whose import takes more than a second of each process.

PyTorch imports `torch._dynamo` when the first optimizer is built and takes its first step, only to tell the compiler to leave
the code of optimizers alone. raymu compiles nothing. Where somebody else's code in this process does, the compiler is told as
before.
"""

from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from typing import Any

import torch
from torch.optim import Optimizer

_METHODS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
"""Methods of optimizers that are hidden from the compiler when they are first called."""
_HIDDEN = "__dynamo_disable"
"""Attribute of a function: what to call instead of it, which PyTorch sets once the compiler is imported."""


@cache
def without_compiler() -> None:
    """Have the methods of all optimizers of this process import the compiler only if something is being compiled."""
    for name in _METHODS:
        plain = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if plain is not None and getattr(plain, _HIDDEN, None) is None:
            setattr(plain, _HIDDEN, _unless_compiling(plain))


def undecorated_step(kind: type[Optimizer]) -> Callable[..., Any]:
    """Return the method `step` of an optimizer of torch.optim with its hooks, and without its decorators.

    These switch gradients off, as is done here, and break the compiler's graph.

    Args:
        kind: An optimizer of torch.optim whose `step` they decorate.
    """
    step: Any = kind.step
    while hasattr(step, "__wrapped__"):
        step = step.__wrapped__

    @wraps(step)
    def without_gradients(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
            return step(self, *args, **kwargs)

    hooked: Callable[..., Any] = Optimizer.profile_hook_step(without_gradients)
    return hooked


def _unless_compiling(plain: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return import_module("torch._dynamo").disable(plain, wrapping=False)(*args, **kwargs)
        return plain(*args, **kwargs)

    return call
