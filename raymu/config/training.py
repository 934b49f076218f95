"""How a shard is trained: the settings of the branches `model` and `training`, and the names they choose from.

The names are rows of tables in `raymu.training`, which imports PyTorch; nothing here does.
"""

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, model_validator
from pydantic.dataclasses import dataclass

from raymu.config.fields import STRICT, Count, Device, Fraction, NonNegative, Positive


class ModelName(StrEnum):
    """The built-in models: rows of `raymu.training.models.MODELS`."""

    LOGISTIC = "logistic"
    MLP = "mlp"
    CNN = "cnn"
    RESNET = "resnet"


class OptimizerName(StrEnum):
    SGD = "sgd"
    ADAM = "adam"
    ADAMW = "adamw"


class ScheduleName(StrEnum):
    """The learning-rate schedules: rows of `raymu.core.schedule.SCHEDULES`."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


def _factory(path: str) -> str:
    module, _, function = path.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise ValueError(f"{path!r} must read package.module:function")
    return path


FactoryPath = Annotated[str, AfterValidator(_factory)]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ModelConfig:
    """A built-in model by its name, or any other one by its factory.

    Settings beside the name are its arguments: `{name: mlp, hidden: [256]}`. A name alone may be written as text: `mlp`.
    """

    name: ModelName | None = None
    factory: FactoryPath | None = None
    """`package.module:function`, called with `args`, returning any `nn.Module` with (samples, classes) logits."""
    args: Mapping[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _settings_beside_the_name_are_args(cls, settings: Any) -> Any:
        if isinstance(settings, str):
            return {"name": settings}
        given = getattr(settings, "kwargs", settings)
        if not isinstance(given, Mapping):
            return settings
        known = {field.name for field in fields(cls)}
        own = {name: value for name, value in given.items() if name in known and value is not None}
        beside = {name: value for name, value in given.items() if name not in known}
        args = own.get("args", {})
        if not own.get("name") or own.get("factory") or not isinstance(args, Mapping):
            return {**own, **beside}
        repeated = [str(name) for name in beside if name in args]
        if repeated:
            raise ValueError(f"{repeated[0]} is given twice, beside the name and in args; leave one of them out")
        return {**own, "args": {**args, **beside}}

    @model_validator(mode="after")
    def _is_chosen_in_one_way(self) -> "ModelConfig":
        if (self.name is None) == (self.factory is None):
            raise ValueError("give either a name or a factory")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TrainingConfig:
    """How each stage of a shard is trained."""

    epochs: Count = 12
    """Passes over the shard that the work of all stages adds up to (SISA's rule spreads them over the stages)."""
    batch_size: Count = 64
    optimizer: OptimizerName = OptimizerName.SGD
    learning_rate: Positive = 0.1
    momentum: Fraction = 0.0
    weight_decay: NonNegative = 0.0
    schedule: ScheduleName = ScheduleName.CONSTANT
    """Learning rate within each stage; linear and cosine fall to 0 at its end."""
    stage_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Factor on the learning rate from each stage to the next."""
    device: Device = "auto"

    @model_validator(mode="after")
    def _momentum_is_for_sgd(self) -> "TrainingConfig":
        if self.momentum and self.optimizer is not OptimizerName.SGD:
            raise ValueError(f"momentum is a setting of sgd; leave it out with {self.optimizer}")
        return self
