"""Optimizer steps of a lane: of all places at once for SGD, Adam and AdamW, and place by place for all others.

A step of all places has the arithmetic of torch.optim, on tensors whose first dimension is the place. A place without a batch
keeps its weights and its state, bit for bit.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from raymu.config.training import OptimizerName

if TYPE_CHECKING:
    from raymu.training.trainer import ShardTrainer

State: TypeAlias = dict[str, Tensor]
"""What an optimizer keeps of one parameter, (places, ...) each."""
Group: TypeAlias = Mapping[str, Any]
"""The settings of an optimizer, by the names that torch.optim gives them."""
Step: TypeAlias = Callable[[Tensor, Tensor, State, Group, Tensor], tuple[Tensor, State]]
"""Weights, gradient, state, settings and rates, all by place -> new weights and new state."""


class LaneOptimizer(ABC):
    """Steps of the places of a lane, whose trainers have their weights in the lane's tensors."""

    @abstractmethod
    def step(self, gradients: Mapping[str, Tensor], rates: Tensor, is_active: npt.NDArray[np.bool_]) -> None:
        """Take a step of each active place.

        Args:
            gradients: Name of a parameter -> (places, *shape).
            rates: (places,) float64.
            is_active: (places,)
        """

    @abstractmethod
    def give(self, place: int) -> None:
        """Give the optimizer of a place's trainer its present state."""

    @abstractmethod
    def take(self, place: int) -> None:
        """Take the state of the optimizer of a place's trainer."""


class _PlaceByPlace(LaneOptimizer):
    """Steps of each trainer's own optimizer."""

    def __init__(self, trainers: Mapping[int, "ShardTrainer"]) -> None:
        self._trainers = trainers
        self._parameters = {
            place: dict(trainer.classifier.model.named_parameters()) for place, trainer in trainers.items()
        }

    def step(self, gradients: Mapping[str, Tensor], rates: Tensor, is_active: npt.NDArray[np.bool_]) -> None:
        all_rates = rates.tolist()
        for place, trainer in self._trainers.items():
            if not is_active[place]:
                continue
            for name, parameter in self._parameters[place].items():
                parameter.grad = gradients[name][place] if name in gradients else None
            trainer.set_rate(all_rates[place])
            trainer.optimizer.step()

    def give(self, place: int) -> None:
        """Do nothing: the trainer's optimizer has it."""

    def take(self, place: int) -> None:
        """Do nothing: the trainer's optimizer has it."""


class _AllAtOnce(LaneOptimizer):
    """Steps of all places together."""

    def __init__(self, trainers: Mapping[int, "ShardTrainer"], parameters: Mapping[str, Tensor], kind: "_Kind") -> None:
        self._trainers, self._parameters, self._kind = trainers, parameters, kind
        self._width = len(next(iter(parameters.values())))
        template = next(iter(trainers.values()))
        self._group: Group = template.optimizer.param_groups[0]
        self._state = {name: kind.new_state(parameter, self._group) for name, parameter in parameters.items()}
        for place in trainers:
            self.take(place)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], rates: Tensor, is_active: npt.NDArray[np.bool_]) -> None:
        active = torch.from_numpy(is_active).to(rates.device) if not is_active.all() else None
        for name, gradient in gradients.items():
            parameter, state = self._parameters[name], self._state[name]
            new, new_state = self._kind.step(parameter, gradient, state, self._group, rates)
            parameter.copy_(_kept(active, new, parameter))
            for key, value in new_state.items():
                state[key].copy_(_kept(active, value, state[key]))

    def give(self, place: int) -> None:
        optimizer = self._trainers[place].optimizer
        for name, parameter in self._own(place).items():
            steps = self._state[name]["step"][place]
            if not steps.item():  # as PyTorch has it: an optimizer that took no step has no state
                optimizer.state.pop(parameter, None)
                continue
            optimizer.state[parameter] = {key: self._state[name][key][place].clone() for key in self._stored(name)}

    def take(self, place: int) -> None:
        optimizer = self._trainers[place].optimizer
        for name, parameter in self._own(place).items():
            own = optimizer.state.get(parameter) or {}
            state = self._state[name]
            for key, value in state.items():
                # SGD counts no steps: that it took one is seen by its momentum.
                value[place] = own[key].to(value.device) if key in own else float(key == "step" and bool(own))

    def _stored(self, name: str) -> Sequence[str]:
        keys = self._state[name].keys()
        return [key for key in keys if key != "step" or self._kind.counts_steps]

    def _own(self, place: int) -> dict[str, nn.Parameter]:
        named = self._trainers[place].classifier.model.named_parameters()
        return {name: parameter for name, parameter in named if name in self._parameters}


def _kept(active: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    return new if active is None else torch.where(_by_place(active, new), new, old)


def _by_place(values: Tensor, like: Tensor) -> Tensor:
    """Return (places,) values that multiply tensors of (places, ...)."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def _sgd_state(parameter: Tensor, group: Group) -> State:
    state = {"step": parameter.new_zeros(len(parameter), dtype=torch.float32)}
    return state | ({"momentum_buffer": torch.zeros_like(parameter)} if group["momentum"] else {})


def _sgd(parameter: Tensor, gradient: Tensor, state: State, group: Group, rates: Tensor) -> tuple[Tensor, State]:
    update = -gradient if group["maximize"] else gradient
    if group["weight_decay"]:
        update = update + group["weight_decay"] * parameter
    new: State = {"step": state["step"] + 1.0}
    if momentum := group["momentum"]:
        begun = _by_place(state["step"] > 0.0, update)
        later = state["momentum_buffer"] * momentum + update * (1.0 - group["dampening"])
        new["momentum_buffer"] = torch.where(begun, later, update)
        update = update + momentum * new["momentum_buffer"] if group["nesterov"] else new["momentum_buffer"]
    return parameter - _by_place(rates.to(parameter.dtype), update) * update, new


def _adam_state(parameter: Tensor, group: Group) -> State:
    keys = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]
    state = {key: torch.zeros_like(parameter) for key in keys}
    return {"step": parameter.new_zeros(len(parameter), dtype=torch.float32)} | state


def _adam(parameter: Tensor, gradient: Tensor, state: State, group: Group, rates: Tensor) -> tuple[Tensor, State]:
    first, second = group["betas"]
    update = -gradient if group["maximize"] else gradient
    steps = state["step"] + 1.0
    weights = parameter
    if decay := group["weight_decay"]:
        if group.get("decoupled_weight_decay"):
            weights = parameter * _by_place((1.0 - rates * decay).to(parameter.dtype), parameter)
        else:
            update = update + decay * parameter
    mean = state["exp_avg"] * first + update * (1.0 - first)
    square = state["exp_avg_sq"] * second + update.square() * (1.0 - second)
    new = {"step": steps, "exp_avg": mean, "exp_avg_sq": square}
    largest = square
    if group["amsgrad"]:
        new["max_exp_avg_sq"] = largest = torch.maximum(state["max_exp_avg_sq"], square)
    exponents = steps.double()
    rate = (rates / (1.0 - first**exponents)).to(parameter.dtype)
    scale = (1.0 - second**exponents).sqrt().to(parameter.dtype)
    scaled = largest.sqrt() / _by_place(scale, square) + group["eps"]
    return weights - _by_place(rate, mean) * (mean / scaled), new


class _Kind:
    """An optimizer whose places take their steps together."""

    def __init__(
        self, new_state: Callable[[Tensor, Group], State], step: Step, args: frozenset[str], *, counts_steps: bool
    ) -> None:
        self.new_state, self.step, self.args, self.counts_steps = new_state, step, args, counts_steps


_ADAM_ARGS = frozenset({"betas", "eps", "weight_decay", "amsgrad", "maximize"})
_TOGETHER: Mapping[OptimizerName, _Kind] = {
    OptimizerName.SGD: _Kind(
        _sgd_state,
        _sgd,
        frozenset({"momentum", "dampening", "weight_decay", "nesterov", "maximize"}),
        counts_steps=False,
    ),
    OptimizerName.ADAM: _Kind(_adam_state, _adam, _ADAM_ARGS | {"decoupled_weight_decay"}, counts_steps=True),
    OptimizerName.ADAMW: _Kind(_adam_state, _adam, _ADAM_ARGS, counts_steps=True),
}
"""With the arguments that each step knows. Others are steps of torch.optim, place by place."""


def lane_optimizer(trainers: Mapping[int, "ShardTrainer"], parameters: Mapping[str, Tensor]) -> LaneOptimizer:
    """Choose how the places of a lane take their steps, by the settings alone.

    Args:
        trainers: Place -> the trainer of its shard, whose weights are the lane's.
        parameters: Name -> (places, *shape) of the parameters that are trained.
    """
    config = next(iter(trainers.values())).spec.training.optimizer
    kind = _TOGETHER.get(config.name) if config.name is not None else None
    if kind is None or not parameters or not config.args.keys() <= kind.args:
        return _PlaceByPlace(trainers)
    return _AllAtOnce(trainers, parameters, kind)


def clip_by_place(gradients: Mapping[str, Tensor], max_norm: float) -> None:
    """Scale each place's gradients down to a Euclidean norm, in place."""
    if not gradients:
        return
    norms = torch.stack([torch.linalg.vector_norm(each.flatten(1), dim=1) for each in gradients.values()])
    factors = (max_norm / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    for gradient in gradients.values():
        gradient.mul_(_by_place(factors, gradient))
