"""Whether a training can be batched in lanes: a trial before a run is created, and a proof on the device that trains.

The proof fills the places of a lane with noise, then half of them with other noise: the gradients of the other half must keep
their bits.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.checkpoint_format import tensor_bytes
from raymu.training.classifier import Classifier
from raymu.training.determinism import deterministic
from raymu.training.encoder import Encoder, PreparedSamples
from raymu.training.inputs import BatchInputs
from raymu.training.lane import LaneState, lane_state
from raymu.training.lane_batches import LaneStep
from raymu.training.models import normalizes_batches
from raymu.training.randomness import random_state_kept, seed_everything
from raymu.training.spec import TrainingSpec
from raymu.training.tasks import Task
from raymu.training.tasks.text import TextTask
from raymu.training.trainer import ShardTrainer

_CPU = torch.device("cpu")
_MOST_PLACES, _MOST_SAMPLES = 3, 4
"""Of the trial before a run is created: it shows whether the code can be batched, and need not be large."""
_proved: set[str] = set()
"""Devices and settings that the proof was given for, in this process."""
_ALONE = "or set cluster.shards_per_lane: 1"


def check_lane(spec: TrainingSpec) -> None:
    """Try a small lane on samples of noise.

    Raises:
        ConfigInvalid: The model cannot be trained in lanes. The line says what to change.
    """
    if spec.lane == 1:
        return
    width, size = min(spec.lane, _MOST_PLACES), min(spec.training.batch_size, _MOST_SAMPLES)
    small = replace(spec, lane=width, training=replace(spec.training, batch_size=size))
    with deterministic(_CPU, threads=1):
        trainer = ShardTrainer(small, 0, _CPU)
        if problem := _unfit(trainer.classifier, small):
            raise ConfigInvalid(f"cluster.shards_per_lane: {problem}, {_ALONE}")
        require_independent(trainer)


def require_lane(trainer: ShardTrainer) -> None:
    """Prove once in each process that the device of a trainer computes each place of a lane for itself.

    Raises:
        ConfigInvalid: It does not.
    """
    spec = trainer.spec
    if spec.lane == 1:
        return
    key = repr((spec.model, spec.training, spec.task, spec.input_shape, spec.inputs, spec.classes, spec.lane))
    if (proof := f"{trainer.classifier.device} {torch.get_num_threads()} {key}") not in _proved:
        require_independent(trainer)
        _proved.add(proof)


def require_independent(trainer: ShardTrainer) -> None:
    """Prove that no place of a lane depends on what other places hold, on the trainer's device and in its shapes.

    The weights of the trainer stay as they are, and so do all generators.

    Raises:
        ConfigInvalid: The model's code cannot be batched, or a place depends on others.
    """
    device = trainer.classifier.device
    with random_state_kept(device, trainer.generators):
        try:
            inputs = [_noise(trainer, seed) for seed in (1, 2)]
            with lane_state({trainer.shard % trainer.spec.lane: trainer}) as lane:
                kept = {name: parameter.detach().clone() for name, parameter in lane.parameters.items()}
                differing = _differing(lane, inputs)
                for name, parameter in lane.parameters.items():
                    parameter.data.copy_(kept[name])
        except Exception as error:  # of the model's own code, or of an operation that has no batched form
            raise ConfigInvalid(
                f"cluster.shards_per_lane: the model cannot be batched over shards ({type(error).__name__}: "
                f"{one_line(error)}); change it, {_ALONE}"
            ) from error
    if differing:
        raise ConfigInvalid(
            f"cluster.shards_per_lane: on this device the gradient of {differing} depends on the other shards of a lane, so "
            f"that nothing could be forgotten exactly; train on another device, {_ALONE}"
        )


def _unfit(classifier: Classifier, spec: TrainingSpec) -> str | None:
    """Say why a model is not for lanes, with what to do; None if nothing is in the way."""
    trained, task = classifier.trained, classifier.task
    if normalizes_batches(trained):
        return "batch norm computes with all samples of a batch, which lanes fill up; use layer norm or group norm"
    if isinstance(task, TextTask) and task.padding == "batch":
        return "the batches of a lane have one length; set task.padding: longest"
    if any(type(module).get_extra_state is not nn.Module.get_extra_state for module in trained.modules()):
        return "the model has extra state, of which a lane has one for all of its shards; keep it in buffers"
    before = {name: buffer.clone() for name, buffer in trained.named_buffers()}
    with random_state_kept(classifier.device):
        classifier.forward(_features(classifier, spec.blank(spec.training.batch_size, classifier.device)))
    for name, buffer in trained.named_buffers():
        if name not in before or not torch.equal(before[name], buffer):
            return f"training changes the buffer {name}, and lanes train parameters alone; keep it as it is"
    return None


def _noise(trainer: ShardTrainer, seed: int) -> tuple[BatchInputs, Tensor]:
    """Return a batch of noise for each place: inputs and targets, (places, batch size, ...)."""
    classifier, spec = trainer.classifier, trainer.spec
    samples = spec.lane * spec.training.batch_size
    generator = torch.Generator().manual_seed(seed)
    blank = spec.blank(samples, classifier.device)
    noisy: BatchInputs = (
        {name: _noise_like(part, generator) for name, part in blank.items()}
        if isinstance(blank, Mapping)
        else _noise_like(blank, generator)
    )
    inputs = _features(classifier, noisy)
    sizes = (spec.lane, spec.training.batch_size)
    targets = classifier.target.blank(samples, spec.classes).to(classifier.device).unflatten(0, sizes)
    if isinstance(inputs, Mapping):
        return {name: part.unflatten(0, sizes) for name, part in inputs.items()}, targets
    return inputs.unflatten(0, sizes), targets


def _noise_like(part: Tensor, generator: torch.Generator) -> Tensor:
    """Return noise of a tensor's type and shape: fractions, or the numbers 0 and 1, of which each sample has a 1."""
    if part.is_floating_point():
        return torch.rand(part.shape, generator=generator).to(part)
    noise = torch.randint(2, part.shape, generator=generator)
    if noise.dim() > 1:  # a mask of zeros would leave nothing to compute with
        noise[..., 0] = 1
    return noise.to(part)


def _features(classifier: Classifier, batch: BatchInputs) -> BatchInputs:
    """Return what training calls the model with: the batch, or what its head is called with."""
    if classifier.backbone is None:
        return batch
    inputs = dict(batch.items()) if isinstance(batch, Mapping) else batch
    plain = PreparedSamples(encoder=Encoder(task=Task(), fitted={}), inputs=inputs, device=classifier.device)
    return classifier.backbone.prepare(plain).all()


def _differing(lane: LaneState, noise: list[tuple[BatchInputs, Tensor]]) -> str | None:
    """Name a parameter whose gradient at one place depends on the others; None if there is none."""
    device, width = lane.trainer.classifier.device, lane.width
    generator = torch.Generator().manual_seed(0)
    weights = [
        {name: _weights_like(parameter, generator) for name, parameter in lane.parameters.items()} for _ in range(2)
    ]
    whole = _gradients(lane, weights[0], noise[0])
    for parity in range(2):
        is_other = torch.arange(width, device=device) % 2 == parity
        mixed = {name: _mixed(is_other, weights[1][name], weights[0][name]) for name in weights[0]}
        inputs: BatchInputs
        (own, targets), (other, _) = noise
        if isinstance(own, Mapping) and isinstance(other, Mapping):
            inputs = {name: _mixed(is_other, other[name], own[name]) for name in own}
        else:
            assert isinstance(own, Tensor), "all noise has one form"
            assert isinstance(other, Tensor), "all noise has one form"
            inputs = _mixed(is_other, other, own)
        part = _gradients(lane, mixed, (inputs, targets))
        for name in whole:
            if not _have_equal_bits(whole[name][~is_other], part[name][~is_other]):
                return name
    return None


def _have_equal_bits(first: Tensor, second: Tensor) -> bool:
    return tensor_bytes(first) == tensor_bytes(second)


def _weights_like(parameter: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(parameter.shape, generator=generator).to(parameter)
    return parameter.detach() + 0.1 * noise


def _mixed(is_other: Tensor, other: Tensor, own: Tensor) -> Tensor:
    return torch.where(is_other.reshape(-1, *[1] * (own.dim() - 1)), other, own)


def _gradients(lane: LaneState, weights: Mapping[str, Tensor], batch: tuple[BatchInputs, Tensor]) -> dict[str, Tensor]:
    inputs, targets = batch
    sizes, device = targets.shape[:2], targets.device
    for name, parameter in lane.parameters.items():
        parameter.data.copy_(weights[name])
    step = LaneStep(
        inputs=inputs,
        targets=targets,
        weights=torch.full(sizes, 1.0 / sizes[1], device=device),
        samples=torch.full(sizes[:1], float(sizes[1]), dtype=torch.float64, device=device),
        rates=torch.zeros(sizes[0], dtype=torch.float64, device=device),
        is_active=torch.ones(sizes[0], dtype=torch.bool).numpy(),
    )
    lane.called.train()
    seed_everything(0, lane.trainer.generators)
    losses = lane.gradients(step)
    gradients = {name: each.grad.clone() for name, each in lane.parameters.items() if each.grad is not None}
    return gradients | {"the loss": losses}
