"""Settings of the list `callbacks`: what is called with the stages, generations and receipts of a run."""

from enum import StrEnum

from pydantic.dataclasses import dataclass

from raymu.config.fields import STRICT
from raymu.config.training import Component


class CallbackName(StrEnum):
    """The built-in callbacks: rows of `raymu.callbacks.CALLBACKS`."""

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    WANDB = "wandb"


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class CallbackConfig(Component):
    """A callback. A factory returns a `raymu.Callback`."""

    name: CallbackName | None = None
