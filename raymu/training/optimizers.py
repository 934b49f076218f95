"""Optimizers: those of torch.optim by name, and any other one by its factory.

A new name also needs a member of `OptimizerName` in `raymu/config/training.py`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from inspect import signature
from types import MethodType
from typing import Any

import torch
from torch import nn

from raymu.config import TrainingConfig
from raymu.config.training import OptimizerName
from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.factories import call_factory, call_row
from raymu.training.uncompiled import undecorated_step, without_compiler

OPTIMIZERS: Mapping[OptimizerName, Callable[..., torch.optim.Optimizer]] = {
    OptimizerName.ADADELTA: torch.optim.Adadelta,
    OptimizerName.ADAFACTOR: torch.optim.Adafactor,
    OptimizerName.ADAGRAD: torch.optim.Adagrad,
    OptimizerName.ADAM: partial(torch.optim.Adam, fused=True),
    OptimizerName.ADAMAX: torch.optim.Adamax,
    OptimizerName.ADAMW: partial(torch.optim.AdamW, fused=True),
    OptimizerName.ASGD: torch.optim.ASGD,
    OptimizerName.NADAM: torch.optim.NAdam,
    OptimizerName.RADAM: torch.optim.RAdam,
    OptimizerName.RMSPROP: torch.optim.RMSprop,
    OptimizerName.RPROP: torch.optim.Rprop,
    OptimizerName.SGD: torch.optim.SGD,
}
"""LBFGS is left out because it takes several passes over a batch for one step, SparseAdam and Muon because they refuse the
parameters of most models."""

_NOT_THE_USERS = frozenset({"lr", "foreach", "fused", "capturable", "differentiable"})
"""`training.learning_rate` sets the rate; the others choose an implementation, and so the bits."""


def build_optimizer(parameters: Iterable[nn.Parameter], training: TrainingConfig) -> torch.optim.Optimizer:
    """Build the configured optimizer, with `training.learning_rate`.

    Each parameter group keeps its rate in `initial_lr`, as PyTorch's schedulers have it. Raises ConfigInvalid.
    """
    optimizer = _build(parameters, training)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def _build(parameters: Iterable[nn.Parameter], training: TrainingConfig) -> torch.optim.Optimizer:
    config, rate = training.optimizer, training.learning_rate
    if config.name is not None:
        build = partial(OPTIMIZERS[config.name], lr=rate)
        config = replace(config, args={**_shorthand(training), **config.args})
        without_compiler()
        optimizer: Any = call_row("training.optimizer", config, build, parameters, without=_NOT_THE_USERS)
        optimizer.step = MethodType(undecorated_step(type(optimizer)), optimizer)
        built: torch.optim.Optimizer = optimizer
        return built
    build = call_factory("training.optimizer", config)
    try:
        optimizer = build(parameters, rate)
    except Exception as error:  # whatever the user's own code raises
        raise ConfigInvalid(f"training.optimizer.factory: {config.factory} failed ({one_line(error)})") from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigInvalid(
            f"training.optimizer.factory: {config.factory} gave {type(optimizer).__name__}; "
            "it must give a torch.optim.Optimizer"
        )
    return optimizer


def _shorthand(training: TrainingConfig) -> dict[str, float]:
    """Return the settings of `training` that a named optimizer takes as arguments. Raises ConfigInvalid."""
    name = training.optimizer.name
    assert name is not None, "a factory's arguments are its own"
    settings: dict[str, float] = {"momentum": training.momentum} if name is OptimizerName.SGD else {}
    if "weight_decay" in signature(OPTIMIZERS[name]).parameters:
        # Also 0, which is not the default of every optimizer.
        return settings | {"weight_decay": training.weight_decay}
    if training.weight_decay:
        raise ConfigInvalid(f"training.weight_decay: {name} has no such setting; leave it out")
    return settings
