"""How a model is computed: precision, memory format, and compilation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from raymu.config import TrainingConfig
from raymu.training.inputs import BatchInputs
from raymu.training.tasks import Task


@dataclass(kw_only=True, slots=True, eq=False)
class Numerics:
    """Settings of a computation, which its bits depend on."""

    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = False
    compiles: bool = False
    """Whether steps of training are compiled. Predictions never are: each number of samples would be compiled anew."""
    _compiled: dict[int, Any] = field(default_factory=dict)
    """Identity of a model -> the model, compiled."""

    @classmethod
    def of(cls, training: TrainingConfig) -> "Numerics":
        """Take the settings of a training."""
        return cls(precision=training.precision, channels_last=training.channels_last, compiles=training.compile)

    def placed(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Move a new model to its device, and to its memory format."""
        model = model.to(device)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # in place; torch's types lack it
        return model

    def forward(self, task: Task, model: nn.Module, batch: BatchInputs) -> Tensor:
        """Call a model as it is set. Returns (samples, outputs) float32, if the precision is another."""
        if self.channels_last:
            batch = _channels_last(batch)
        if self.compiles and model.training and torch.is_grad_enabled():
            model = self._compiled_of(model)
        if self.precision == "float32":
            return task.forward(model, batch)
        device = next(iter(batch.values())) if isinstance(batch, Mapping) else batch
        with torch.autocast(device.device.type, dtype=torch.bfloat16):
            outputs = task.forward(model, batch)
        return outputs.float()

    def _compiled_of(self, model: nn.Module) -> nn.Module:
        """Compile a model for batches of any size: else the sizes that came first would decide how others are computed."""
        if id(model) not in self._compiled:
            self._compiled[id(model)] = torch.compile(model, dynamic=True)
        compiled: nn.Module = self._compiled[id(model)]
        return compiled

    def eager(self) -> "Numerics":
        """Return the same without compilation, as for a copy of the model that is only tried out."""
        return replace(self, compiles=False, _compiled={})


def _channels_last(batch: BatchInputs) -> BatchInputs:
    if isinstance(batch, Mapping):
        return {name: _image_format(part) for name, part in batch.items()}
    return _image_format(batch)


def _image_format(part: Tensor) -> Tensor:
    return part.contiguous(memory_format=torch.channels_last) if part.dim() == 4 else part


def in_format_of_weights(optimizer: Optimizer) -> None:
    """Give an optimizer's state the memory format of its parameters: fused steps go through both side by side."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
