"""A lane: shards whose stages are trained side by side in one process, as one batched computation.

A lane has a fixed number of places, its width, and shard `s` always has place `s % width` of lane `s // width`. Every
operation has a shape that follows from the settings, and random numbers derive from the lane, the stage and the epoch. So the
bits of a shard depend on the width and on its own samples, never on what other places hold: a shard that is retrained alone,
beside places without work, ends with the bits that it has when all shards of its lane are trained together.

Horizontally fused training arrays (Wang et al., MLSys 2021) compute so too, for models that are tuned.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from raymu.core.partition import derive_seed, lane_of
from raymu.errors import TrainingFailed
from raymu.text import one_line
from raymu.training.batches import ShardSamples, part_lengths
from raymu.training.classifier import Classifier
from raymu.training.early_stopping import EarlyStopping
from raymu.training.encoder import PreparedSamples
from raymu.training.inputs import BatchInputs
from raymu.training.lane_batches import LaneStep, PlacedEpoch, lane_steps
from raymu.training.lane_optimizers import LaneOptimizer, clip_by_place, lane_optimizer
from raymu.training.losses import FactoryLoss
from raymu.training.randomness import seed_everything

if TYPE_CHECKING:
    from raymu.training.trainer import ShardTrainer

_MODEL = "model."


def train_lane_stage(trainers: Sequence["ShardTrainer"], samples: Sequence[ShardSamples], stage: int) -> list[int]:
    """Train one stage of some shards of a lane. Other places of the lane stay without work.

    Args:
        trainers: Of shards of one lane, with one spec.
        samples: All samples of each of these shards.
        stage: Number of the stage.

    Returns:
        Sample passes of each shard.

    Raises:
        TrainingFailed: The model's code fails, or the device has too little memory.
    """
    held_out = trainers[0].spec.held_out
    if held_out is not None:
        _ = held_out.samples  # a file that is lost is no failure of the model's code
    for trainer in trainers:
        trainer.measures = None
    members = [
        _Member(trainer, own, own.up_to(stage), stage)
        for trainer, own in zip(trainers, samples, strict=True)
        if len(own.up_to(stage))
    ]
    if members:
        try:
            _train(members, stage)
        except Exception as error:  # the model's own code runs, on a device that may be too small for it
            problem = f"{type(error).__name__}: {one_line(error)}"
            raise TrainingFailed(members[0].trainer.shard, stage, problem) from error
    passes = {member.trainer.shard: member.end() for member in members}
    return [passes.get(trainer.shard, 0) for trainer in trainers]


class _Member:
    """A shard of a lane that has samples in a stage."""

    def __init__(self, trainer: "ShardTrainer", samples: ShardSamples, current: ShardSamples, stage: int) -> None:
        self.trainer, self.place = trainer, trainer.shard % trainer.spec.lane
        self._samples, self._current = samples, current
        self.stopping = EarlyStopping(trainer.spec.held_out, trainer.spec.epochs[stage])
        self.prepared: PreparedSamples
        self.targets: Tensor
        self.loss = torch.zeros(2, dtype=torch.float64)
        """(2,) the sum of the losses of the last epoch's samples, and their number."""

    def prepare(self) -> None:
        """Encode the samples."""
        self.prepared, self.targets = self.trainer.prepared_for(self._samples, self._current)

    def epoch(self, stage: int, epoch: int) -> PlacedEpoch:
        """Return the batches of an epoch."""
        plan = self.trainer.plan_epoch(self._current, stage, epoch)
        return PlacedEpoch(
            place=self.place,
            samples=self.prepared,
            targets=self.targets,
            batches=plan.batches,
            rates=plan.rates,
            draws=plan.draws,
        )

    def end(self) -> int:
        """Leave what was measured. Returns sample passes."""
        total, samples = self.loss.tolist()
        mean = total / samples if samples and np.isfinite(total) else None
        self.trainer.measures = replace(self.stopping.measures, loss=mean)
        return self.stopping.trained_epochs * len(self._current)


def _train(members: Sequence[_Member], stage: int) -> None:
    for member in members:
        member.prepare()
    spec = members[0].trainer.spec
    trainers = {member.place: member.trainer for member in members}
    with lane_state(trainers) as lane:
        for epoch in range(spec.epochs[stage]):
            training = [member for member in members if not member.stopping.has_ended]
            if not training:
                break
            seed = derive_seed(spec.seed, lane_of(members[0].trainer.shard, spec.lane), stage, epoch, "lane")
            totals = lane.train_epoch([member.epoch(stage, epoch) for member in training], seed=seed)
            for member in training:
                member.loss = totals[member.place]
                if member.stopping.is_due(epoch):
                    lane.optimizer.give(member.place)
                    validation = member.trainer.validate()
                    member.stopping.take_up(epoch, validation, member.trainer.copy_of_state)
        for member in members:
            lane.optimizer.give(member.place)
            if (best := member.stopping.best_state) is not None:
                member.trainer.go_back(best)


@dataclass(kw_only=True, slots=True, eq=False)
class LaneState:
    """The weights of all places, side by side, and the model that computes with them."""

    width: int
    trainer: "ShardTrainer"
    """Of one of the shards: its model's code computes all places."""
    called: "_Called"
    parameters: Mapping[str, Tensor]
    """Name -> (places, *shape) of the parameters that are trained."""
    constants: Mapping[str, Tensor]
    """Name -> (places, *shape) of other parameters, and of buffers. What all shards share is the model's own."""
    optimizer: LaneOptimizer

    def train_epoch(self, epochs: Sequence[PlacedEpoch], *, seed: int) -> Tensor:
        """Train one epoch of some places.

        Args:
            epochs: Of these places.
            seed: Of the random numbers that the model draws.

        Returns:
            (places, 2) float64: the sum of the losses of all samples, and their number.
        """
        spec, device = self.trainer.spec, self.trainer.classifier.device
        self.called.train()
        totals = torch.zeros(self.width, 2, dtype=torch.float64, device=device)
        seed_everything(seed, self.trainer.generators)
        steps = lane_steps(epochs, width=self.width, batch_size=spec.training.batch_size, device=device)
        with closing(steps):
            for step in steps:
                losses = self.gradients(step)
                self._step(step)
                totals += torch.stack([torch.where(step.samples > 0, losses * step.samples, 0.0), step.samples], dim=1)
        return totals.cpu()

    def gradients(self, step: LaneStep) -> Tensor:
        """Compute the gradients of a step, and leave them in the parameters.

        Returns:
            (places,) float64, the mean loss of each place's batch.
        """
        for parameter in self.parameters.values():
            parameter.grad = None
        size, parts = step.targets.shape[1], self.trainer.spec.training.accumulate
        total = torch.zeros(self.width, dtype=torch.float64, device=step.weights.device)
        start = 0
        for length in part_lengths(size, parts, min_samples=1):
            part = slice(start, start + length)
            weighted = self._losses(step, part) * step.weights[:, part]
            weighted.sum().backward()
            total += weighted.detach().double().sum(dim=1)
            start += length
        return total

    def _losses(self, step: LaneStep, part: slice) -> Tensor:
        """Compute the losses of a part of each batch. Returns (places, samples of the part)."""
        inputs = _part(step.inputs, part)
        targets, loss = step.targets[:, part], self.trainer.classifier.loss
        outputs = vmap(self._outputs, randomness="different")(self.parameters, self.constants, inputs)
        if isinstance(loss, FactoryLoss):  # of any code: each place's losses are computed for themselves
            losses: Tensor = vmap(lambda own, truth: loss(own, truth, "none"), randomness="different")(outputs, targets)
            return losses
        return loss(outputs.flatten(0, 1), targets.flatten(0, 1), "none").unflatten(0, (self.width, -1))

    def _outputs(
        self, parameters: Mapping[str, Tensor], constants: Mapping[str, Tensor], inputs: BatchInputs
    ) -> Tensor:
        named = {_MODEL + name: value for name, value in {**parameters, **constants}.items()}
        outputs: Tensor = functional_call(self.called, named, (inputs,))
        return outputs

    def _step(self, step: LaneStep) -> None:
        gradients = {name: parameter.grad for name, parameter in self.parameters.items() if parameter.grad is not None}
        if (norm := self.trainer.spec.training.max_grad_norm) is not None:
            clip_by_place(gradients, norm)
        self.optimizer.step(gradients, step.rates, step.is_active)


@contextmanager
def lane_state(trainers: Mapping[int, "ShardTrainer"]) -> Iterator[LaneState]:
    """Put the weights of some shards side by side, and give each trainer its own back at the end.

    Meanwhile the models of the trainers have their weights in the lane's tensors.

    Args:
        trainers: Place -> the trainer of its shard. Other places hold copies of one of them, which no result depends on.
    """
    template = next(iter(trainers.values()))
    classifier, width = template.classifier, template.spec.lane
    by_place = [trainers.get(place, template) for place in range(width)]
    shared = _shared_names(template)
    trained = {name for name, each in classifier.model.named_parameters() if each.requires_grad}
    tensors = [_tensors_of(trainer, shared) for trainer in by_place]
    stacked = {
        name: torch.stack([own[name].detach() for own in tensors]).requires_grad_(name in trained)
        for name in tensors[0]
    }
    parameters = {name: stacked[name] for name in stacked if name in trained}
    for place, trainer in trainers.items():
        for name, parameter in trainer.classifier.model.named_parameters():
            if name in parameters:
                parameter.data = parameters[name].data[place]
    try:
        yield LaneState(
            width=width,
            trainer=template,
            called=_Called(classifier),
            parameters=parameters,
            constants={name: value for name, value in stacked.items() if name not in trained},
            optimizer=lane_optimizer(trainers, parameters),
        )
    finally:
        for trainer in trainers.values():
            for name, parameter in trainer.classifier.model.named_parameters():
                if name in parameters:
                    parameter.data, parameter.grad = parameter.data.clone(), None


class _Called(nn.Module):
    """A classifier's model, called as the classifier calls it."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.model = classifier.model
        self._forward = classifier.forward

    def forward(self, batch: BatchInputs) -> Tensor:
        return self._forward(batch)


def _tensors_of(trainer: "ShardTrainer", shared: frozenset[str]) -> dict[str, Tensor]:
    model = trainer.classifier.model
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: value for name, value in named.items() if name not in shared}


def _shared_names(trainer: "ShardTrainer") -> frozenset[str]:
    """Return the names of tensors that all shards share, and that training leaves as they are."""
    base, model = trainer.spec.base, trainer.classifier.model
    if base is None:
        return frozenset()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return frozenset(base.frozen.keys() - trained)


def _part(inputs: BatchInputs, part: slice) -> BatchInputs:
    if isinstance(inputs, Mapping):
        return {name: value[:, part] for name, value in inputs.items()}
    return inputs[:, part]
