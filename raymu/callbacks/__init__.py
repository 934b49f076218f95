"""Callbacks: what is called with the stages, generations and receipts of a run, in the process that called it.

`callback` has the base class, `watcher` calls them, and the other modules have one built-in callback each.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from raymu.callbacks.callback import Callback
from raymu.config import CallbackConfig, CallbackName
from raymu.errors import ConfigInvalid

__all__ = ["CALLBACKS", "Callback", "build_callbacks"]

CALLBACKS: Mapping[CallbackName, tuple[str, str]] = {
    CallbackName.TENSORBOARD: ("raymu.callbacks.tensorboard", "TensorBoard"),
    CallbackName.MLFLOW: ("raymu.callbacks.mlflow", "MLflow"),
    CallbackName.WANDB: ("raymu.callbacks.wandb", "WandB"),
}
"""Name -> module and class, which takes the user's keyword arguments."""


def build_callbacks(configs: Sequence[CallbackConfig]) -> tuple[Callback, ...]:
    """Build the configured callbacks. Raises ConfigInvalid."""
    return tuple(map(_built, configs))


def _built(config: CallbackConfig) -> Callback:
    from raymu.training.factories import call_factory, call_row  # with PyTorch, which reading a run does not need

    if config.name is not None:
        module, name = CALLBACKS[config.name]
        make: Callable[..., Callback] = getattr(import_module(module), name)
        if config.name is CallbackName.WANDB:  # which takes all that wandb.init takes
            return make(**config.args)
        built: Callback = call_row("callbacks", config, make)
        return built
    callback = call_factory("callbacks", config)
    if not isinstance(callback, Callback):
        raise ConfigInvalid(
            f"callbacks.factory: {config.factory} returned {type(callback).__name__}; it must return a raymu.Callback"
        )
    return callback
