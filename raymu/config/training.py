"""Settings of the branches `model` and `training`, and the names that they choose from.

The names are rows of tables in `raymu.training` and `raymu.core.schedule`; nothing here imports PyTorch.
"""

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, SerializerFunctionWrapHandler, WrapSerializer, model_validator
from pydantic.dataclasses import dataclass

from raymu.config import limits
from raymu.config.fields import STRICT, Count, Device, Fraction, NonNegative, Positive


class ModelName(StrEnum):
    """The built-in models: rows of `raymu.training.models.MODELS`."""

    LOGISTIC = "logistic"
    MLP = "mlp"
    CNN = "cnn"
    RESNET = "resnet"
    TIMM = "timm"
    TORCHVISION = "torchvision"
    TRANSFORMERS = "transformers"

    @property
    def is_library(self) -> bool:
        """Whether the model is an architecture of another library."""
        return self in (ModelName.TIMM, ModelName.TORCHVISION, ModelName.TRANSFORMERS)


class Trainable(StrEnum):
    """Which of a model's weights are trained. The others are the same in all shards, and stored once."""

    ALL = "all"
    HEAD = "head"
    """The last layers alone: what is before them is computed once for each sample."""
    ADAPTERS = "adapters"
    """Small matrices beside the weights (LoRA), and the last layers."""


class LossName(StrEnum):
    """The built-in losses: rows of `raymu.training.losses.LOSSES`."""

    CROSS_ENTROPY = "cross_entropy"
    BINARY_CROSS_ENTROPY = "binary_cross_entropy"
    SQUARED_ERROR = "squared_error"
    ABSOLUTE_ERROR = "absolute_error"
    HUBER = "huber"


class OptimizerName(StrEnum):
    """The optimizers of torch.optim: rows of `raymu.training.optimizers.OPTIMIZERS`."""

    ADADELTA = "adadelta"
    ADAFACTOR = "adafactor"
    ADAGRAD = "adagrad"
    ADAM = "adam"
    ADAMAX = "adamax"
    ADAMW = "adamw"
    ASGD = "asgd"
    NADAM = "nadam"
    RADAM = "radam"
    RMSPROP = "rmsprop"
    RPROP = "rprop"
    SGD = "sgd"


class ScheduleName(StrEnum):
    """The learning-rate schedules: rows of `raymu.core.schedule.SCHEDULES`."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


def _factory(path: str) -> str:
    module, _, function = path.partition(":")
    if not all((*module.split("."), function)):  # a file of a module may have any name
        raise ValueError(f"{path!r} must read package.module:function")
    return path


FactoryPath = Annotated[str, AfterValidator(_factory)]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Component:
    """A part of training: a table's row by its name, or what a user's factory returns.

    Settings beside the name are its arguments: `{name: sgd, nesterov: true}`. A name alone may be written as text: `sgd`.
    """

    name: StrEnum | None = None
    """A built-in one. Give either this or a factory."""
    factory: FactoryPath | None = None
    """`package.module:function`, called with `args`."""
    args: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Arguments of either, which may also stand beside the name."""

    def __str__(self) -> str:
        return self.name or self.factory or ""

    @model_validator(mode="before")
    @classmethod
    def _settings_beside_the_name_are_args(cls, settings: Any) -> Any:
        if isinstance(settings, str):
            return {"name": settings}
        by_name = getattr(settings, "kwargs", settings)  # of a call in Python, or read from YAML
        if not isinstance(by_name, Mapping):
            return settings
        known = {field.name for field in fields(cls)}
        own = {name: value for name, value in by_name.items() if name in known and value is not None}
        beside = {name: value for name, value in by_name.items() if name not in known}
        args = own.get("args", {})
        if not own.get("name") or own.get("factory") or not isinstance(args, Mapping):
            return {**own, **beside}
        repeated = [str(name) for name in beside if name in args]
        if repeated:
            raise ValueError(f"{repeated[0]} is given twice, beside the name and in args; leave one of them out")
        return {**own, "args": {**args, **beside}}

    @model_validator(mode="after")
    def _is_chosen_in_one_way(self) -> "Component":
        if (self.name is None) == (self.factory is None):
            raise ValueError("give either a name or a factory")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class AdaptersConfig:
    """Low-rank adapters (LoRA: Hu et al., ICLR 2022)."""

    rank: Annotated[int, Field(ge=1, le=limits.MAX_WIDTH)] = 8
    """Rank of each adapter's matrices."""
    alpha: Positive = 16.0
    """An adapter's output is multiplied by alpha over rank."""
    targets: tuple[str, ...] = ()
    """Names of the layers that have adapters, or their endings. Without any: all linear layers but the last ones."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ModelConfig(Component):
    """The model. A factory returns any `nn.Module` that gives (samples, outputs): logits, or numbers."""

    name: ModelName | None = None
    trainable: Trainable = Trainable.ALL
    """Which weights are trained: all, the last layers alone, or adapters and the last layers."""
    head: str | None = None
    """Name of the last layers, as in `named_modules`. None finds them."""
    adapters: AdaptersConfig | None = None
    """Settings of adapters; None takes the defaults."""

    @model_validator(mode="after")
    def _parts_are_used(self) -> "ModelConfig":
        if self.adapters is not None and self.trainable is not Trainable.ADAPTERS:
            raise ValueError("adapters is a setting of trainable: adapters; set that, or leave it out")
        if self.head is not None and self.trainable is Trainable.ALL:
            raise ValueError("head is a setting of trainable: head and trainable: adapters; set one, or leave it out")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class LossConfig(Component):
    """The loss. A factory returns a function of outputs and targets that gives one loss per sample."""

    name: LossName | None = None


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class OptimizerConfig(Component):
    """The optimizer. A factory returns a function of the parameters and the learning rate that gives an optimizer."""

    name: OptimizerName | None = None


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ScheduleConfig(Component):
    """The learning rate within each stage, as a factor. Linear and cosine fall to 0 at the stage's end.

    A factory returns a function of the trained share of the stage, within [0, 1), that gives the factor.
    """

    name: ScheduleName | None = None
    per: Literal["epoch", "step"] = "epoch"
    """The unit of time after which the rate changes."""
    warm_up: Fraction = 0.0
    """Share of the stage in which the rate first rises to its full value."""

    @model_validator(mode="after")
    def _named_schedules_have_no_args(self) -> "ScheduleConfig":
        if self.name is not None and self.args:
            raise ValueError(f"{self.name} has no setting {next(iter(self.args))}; it has per and warm_up")
        return self


def _in_short(component: Component, in_full: SerializerFunctionWrapHandler) -> Any:
    """Write a component that is a name and nothing else as text: the form of version 0.1."""
    return (
        str(component.name)
        if component.name and component == type(component)(name=component.name)
        else in_full(component)
    )


in_short = WrapSerializer(_in_short)
"""Marks a field that is written as text where it is a name and nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TrainingConfig:
    """Settings of the training of each stage of a shard."""

    epochs: Annotated[int, Field(ge=1, le=limits.MAX_EPOCHS)] = 12
    """Passes over the shard that the work of all stages adds up to (SISA's rule spreads them over the stages)."""
    batch_size: Count = 64
    """Samples of a step."""
    loss: Annotated[LossConfig, in_short] | None = None
    """By default that of the task's target: cross-entropy, binary cross-entropy of each label, or the squared error."""
    optimizer: Annotated[OptimizerConfig, in_short] = Field(
        default_factory=lambda: OptimizerConfig(name=OptimizerName.SGD)
    )
    """The optimizer of each stage."""
    learning_rate: Positive = 0.2
    """The rate at which each stage begins, or that it reaches after its warm-up."""
    momentum: Fraction = 0.0
    """Momentum, for `optimizer: sgd`."""
    weight_decay: NonNegative = 0.0
    """Weight decay, for any named optimizer that has it."""
    max_grad_norm: Positive | None = None
    """Scale a batch's gradient down to this Euclidean norm."""
    schedule: Annotated[ScheduleConfig, in_short] = Field(
        default_factory=lambda: ScheduleConfig(name=ScheduleName.LINEAR, per="step")
    )
    """Learning rate within each stage; linear and cosine fall to 0 at its end. Then two trainings that differ by a few
    samples end near each other, so a patch has something to aim at, and accuracy is higher at twice the rate."""
    stage_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Factor on the learning rate from each stage to the next."""
    device: Device = "auto"
    """Where shards are trained. `auto` is the GPU that a shard has, or else the CPU."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16 computes most layers in bfloat16 (autocast); weights, gradients and the loss stay float32."""
    accumulate: Count = 1
    """Parts of a batch whose gradients are computed one after the other, which takes less memory. A step is the batch's."""
    compile: bool = False
    """Train with `torch.compile`."""
    channels_last: bool = False
    """Keep images and convolutions in the memory format that has a pixel's channels side by side."""

    @model_validator(mode="after")
    def _shorthand_fits_the_optimizer(self) -> "TrainingConfig":
        if self.momentum and self.optimizer.name is not OptimizerName.SGD:
            raise ValueError(f"momentum is a setting of sgd; leave it out with {self.optimizer}")
        if self.weight_decay and self.optimizer.name is None:
            raise ValueError("weight_decay is a setting of named optimizers; give it in optimizer.args")
        for name in ("momentum", "weight_decay"):
            if getattr(self, name) and name in self.optimizer.args:
                raise ValueError(f"{name} is given twice, beside the optimizer and in it; leave one of them out")
        return self

    @property
    def is_plain_sgd(self) -> bool:
        """Whether a step is the learning rate times the batch's gradient, with weight decay and nothing else."""
        is_sgd = self.optimizer.name is OptimizerName.SGD and self.optimizer.args.keys() <= {"weight_decay"}
        return is_sgd and not self.momentum and self.max_grad_norm is None
