"""Approximate remedies: subtract contributions at a calibrated strength, fine-tune, and repair batch-norm statistics.

The strength and the order (fine-tune first, calibrate last) are raymu's own, not the published rule.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from raymu.config import OhsConfig
from raymu.core.partition import derive_seed
from raymu.core.workload import FORWARD_SHARE
from raymu.errors import PatchFailed
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.models import has_batch_norm
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer

_DOUBLINGS = 60
_BISECTIONS = 24
_TOLERANCE = 0.01
"""Of the unseen loss: how near the forget set's loss must come to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchResult:
    """passes: sample passes, a forward pass counted as a third; forget_loss: of the patched model, mean, in nats"""

    passes: float
    forget_loss: float


def subtract(classifier: Classifier, contributions: Tensor, forget: ShardSamples, retain: ShardSamples) -> PatchResult:
    """The published rule: subtract the contributions once, whole. Raises PatchFailed on non-finite weights."""
    weights = parameters_to_vector(classifier.model.parameters()).detach().clone()
    _set_weights(classifier, weights - contributions)
    passes = recompute_batch_norm(classifier, retain)
    loss = classifier.loss_on(forget.features, forget.labels)
    require_finite(classifier)
    return PatchResult(passes=passes + len(forget) * FORWARD_SHARE, forget_loss=loss)


def calibrate(
    classifier: Classifier, contributions: Tensor, forget: ShardSamples, retain: ShardSamples, *, unseen_loss: float
) -> PatchResult:
    """Subtract the contributions at the strength that brings the forget set's mean loss to the unseen loss.

    Where the loss is there already nothing is subtracted: pushing further is over-forgetting, itself a leak.
    Batch-norm statistics move with the weights, and the loss with them: a second, shorter search has them follow.
    contributions: (parameters,) float32; unseen_loss: the loss of models that never saw the forget set
    Raises PatchFailed where no strength reaches it.
    """
    passes = recompute_batch_norm(classifier, retain)
    inputs = classifier.inputs(forget.features)
    labels = torch.from_numpy(forget.labels).to(classifier.device)
    weights = parameters_to_vector(classifier.model.parameters()).detach().clone()

    def loss_at(strength: float) -> float:
        nonlocal passes
        passes += len(forget) * FORWARD_SHARE
        _set_weights(classifier, weights - strength * contributions)
        return classifier.mean_loss(inputs, labels)

    def loss_with_statistics_at(strength: float) -> float:
        nonlocal passes
        _set_weights(classifier, weights - strength * contributions)
        passes += recompute_batch_norm(classifier, retain)
        return loss_at(strength)

    strength = find_strength(loss_at, unseen_loss)
    if strength and has_batch_norm(classifier.model):
        found = strength
        strength *= find_strength(lambda factor: loss_with_statistics_at(factor * found), unseen_loss)
    loss = loss_at(strength)  # where the search ended, so the statistics are these weights' own
    require_finite(classifier)
    return PatchResult(passes=passes, forget_loss=loss)


def find_strength(loss_at: Callable[[float], float], aim: float) -> float:
    """The least strength, near enough, at which the loss reaches the aim; 0 where it is there already.

    Doubling finds a bracket, bisection narrows it. Raises PatchFailed where the loss stays below, or jumps over the aim.
    """
    loss = loss_at(0.0)
    if not (math.isfinite(loss) and math.isfinite(aim)):
        raise PatchFailed("the loss on the forget set is not finite")
    if loss >= aim * (1.0 - _TOLERANCE):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_DOUBLINGS):
        if not loss_at(high) < aim:  # also where the loss is no number
            break
        low, high = high, 2.0 * high
    else:
        raise PatchFailed("no strength brings the forget set's loss to that of unseen samples")
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        loss = loss_at(middle)
        if abs(loss - aim) <= _TOLERANCE * aim:
            return middle
        low, high = (middle, high) if loss < aim else (low, middle)
    raise PatchFailed("the forget set's loss jumps over that of unseen samples")


def fine_tune(
    training: ShardTrainer, retain: ShardSamples, unseen: ShardSamples | None, *, rate: float, epochs: int, seed: int
) -> float:
    """Train on retained samples, the rate falling to 0, until the loss on unseen samples stops improving.

    unseen: samples of another shard; without any, one epoch is trained
    returns: sample passes. The classifier is left as it was after its best epoch.
    """
    classifier = training.classifier
    if not len(retain) or classifier.normalizer is None:
        return 0.0
    training.reset_optimizer()
    inputs = classifier.inputs(retain.features)
    labels = torch.from_numpy(retain.labels).to(classifier.device)
    passes = 0.0
    best = math.inf
    if unseen is not None:
        best = classifier.loss_on(unseen.features, unseen.labels)
        passes += len(unseen) * FORWARD_SHARE
    kept = _state(classifier.model)
    for epoch in range(epochs if unseen is not None else 1):
        training.set_rate(rate * (1.0 - epoch / epochs))
        batches = training.batches(retain, seed=derive_seed(seed, epoch, "order"))
        training.train_epoch(inputs, labels, batches, seed=derive_seed(seed, epoch, "dropout"))
        passes += len(retain)
        if unseen is None:
            return passes
        loss = classifier.loss_on(unseen.features, unseen.labels)
        passes += len(unseen) * FORWARD_SHARE
        if not loss < best:
            classifier.model.load_state_dict(kept)
            return passes
        best, kept = loss, _state(classifier.model)
    return passes


def fine_tune_as_control(
    training: ShardTrainer, retain: ShardSamples, *, plan: TrainingSpec, shard: int, ohs: OhsConfig
) -> float:
    """The no-subtraction control: fine-tune on the last slices as `ohs` does, and subtract nothing.

    returns: sample passes
    """
    tail = retain.where(retain.slices >= len(plan.epochs) - ohs.slices)
    seed = derive_seed(plan.seed, shard, "control")
    return fine_tune(training, tail, None, rate=plan.training.learning_rate, epochs=ohs.epochs, seed=seed)


def recompute_batch_norm(classifier: Classifier, retain: ShardSamples) -> float:
    """Batch-norm statistics anew from the retained samples: buffers are no contributions, and cannot be subtracted.

    returns: sample passes; 0 for a model without batch norm. Raises PatchFailed where too few samples are left
    """
    model = classifier.model
    if not has_batch_norm(model):
        return 0.0
    if len(retain) < 2:
        raise PatchFailed("fewer than two samples are retained to take batch-norm statistics from")
    layers = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    was_training = [(module, module.training) for module in model.modules()]
    model.eval()  # dropout stays off
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over the batches
        layer.train()
    with torch.no_grad():
        for batch in _even_parts(classifier.inputs(retain.features)):
            model(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    for module, mode in was_training:
        module.training = mode
    return len(retain) * FORWARD_SHARE


def _even_parts(inputs: Tensor, size: int = 1024) -> tuple[Tensor, ...]:
    """Parts of nearly equal size, so that every one has batch statistics and counts alike."""
    return torch.tensor_split(inputs, -(-len(inputs) // size))


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _set_weights(classifier: Classifier, vector: Tensor) -> None:
    with torch.no_grad():
        vector_to_parameters(vector, classifier.model.parameters())


def require_finite(classifier: Classifier) -> None:
    """Raises PatchFailed on weights or statistics that are no numbers."""
    for name, tensor in classifier.model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise PatchFailed(f"the patch left non-finite values in {name}")
