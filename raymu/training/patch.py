"""Approximate remedies: subtract contributions at a calibrated strength, fine-tune, and recompute batch-norm statistics.

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
from raymu.core.remedies import FORWARD_SHARE
from raymu.errors import PatchFailed
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.contributions import Contribute
from raymu.training.models import has_batch_norm
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer

_MAX_DOUBLINGS = 60
_MAX_BISECTIONS = 24
_TOLERANCE = 0.01
"""Largest distance of the forget set's loss from the unseen loss, as a fraction of the latter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchResult:
    """A patch that is done."""

    passes: float
    """Sample passes; a forward pass counts as a third."""
    forget_loss: float
    """Mean loss of the patched model on the forget set, in nats for cross-entropy."""


def subtract(classifier: Classifier, contribute: Contribute, forget: ShardSamples, retain: ShardSamples) -> PatchResult:
    """Subtract the contributions once and whole: the published rule.

    Args:
        classifier: Its weights change.
        contribute: Computes the contributions.
        forget: The forget set.
        retain: The other samples of the shard.

    Raises:
        PatchFailed: The contributions cannot be computed, or the weights become infinite or NaN.
    """
    contributions = contribute()
    _line(classifier, contributions.vector)(1.0)
    passes = contributions.passes + recompute_batch_norm(classifier, retain)
    loss = classifier.mean_loss(forget.features, forget.labels)
    require_finite(classifier)
    return PatchResult(passes=passes + len(forget) * FORWARD_SHARE, forget_loss=loss)


def calibrate(
    classifier: Classifier,
    contribute: Contribute,
    forget: ShardSamples,
    retain: ShardSamples,
    *,
    unseen_loss: float,
    steps: int = 1,
) -> PatchResult:
    """Subtract contributions at the strength that brings the forget set's mean loss to the unseen loss.

    If the loss is there already, nothing is subtracted: more would be over-forgetting, itself a leak. Batch-norm statistics
    move with the weights, and the loss with them, so a second search follows them in the last step.

    Args:
        classifier: Its weights change.
        contribute: Computes the contributions, at the present weights for each step.
        forget: The forget set.
        retain: The other samples of the shard.
        unseen_loss: Mean loss on the forget set of models that never saw it.
        steps: Steps, each an equal share of the way from the present loss to the unseen loss.

    Raises:
        PatchFailed: The contributions cannot be computed, no strength reaches the unseen loss, or the weights become
            infinite or NaN.
    """
    search = _Search(classifier, forget, retain)
    search.recompute_statistics()
    start = loss = search.loss()
    if not (math.isfinite(start) and math.isfinite(unseen_loss)):
        raise PatchFailed("the loss on the forget set is not finite")
    for step in range(1, steps + 1):
        if _reaches(loss, unseen_loss):
            break
        contributions = contribute()
        search.passes += contributions.passes
        aim = start + (unseen_loss - start) * step / steps
        loss = search.step_to(aim, contributions.vector, loss, follows_statistics=step == steps)
    require_finite(classifier)
    return PatchResult(passes=search.passes, forget_loss=loss)


class _Search:
    """The steps of a calibration, and the sample passes that they take."""

    def __init__(self, classifier: Classifier, forget: ShardSamples, retain: ShardSamples) -> None:
        self._classifier, self._retain = classifier, retain
        self._has_statistics = has_batch_norm(classifier.model)
        self._inputs = classifier.preprocess(forget.features)
        self._labels = torch.from_numpy(forget.labels).to(classifier.device)
        self.passes = 0.0

    def loss(self) -> float:
        """Compute the mean loss on the forget set."""
        self.passes += len(self._inputs) * FORWARD_SHARE
        return self._classifier.mean_loss(self._inputs, self._labels)

    def recompute_statistics(self) -> None:
        self.passes += recompute_batch_norm(self._classifier, self._retain)

    def step_to(self, aim: float, vector: Tensor, loss_before: float, *, follows_statistics: bool) -> float:
        """Move the weights along a vector until the loss is near an aim.

        Args:
            aim: The loss to reach.
            vector: (parameters,), subtracted at the strength that is found.
            loss_before: The present loss.
            follows_statistics: Search once more with batch-norm statistics computed anew for each strength.

        Returns:
            The loss that is left.
        """
        move_to = _line(self._classifier, vector)
        losses = {0.0: loss_before}

        def loss_at(strength: float) -> float:
            if strength not in losses:
                move_to(strength)
                losses[strength] = self.loss()
            return losses[strength]

        strength = find_strength(loss_at, aim)
        move_to(strength)
        if not (strength and self._has_statistics):
            return loss_at(strength)
        self.recompute_statistics()
        losses = {0.0: loss_before, 1.0: self.loss()}
        if not follows_statistics:
            return losses[1.0]

        def loss_with_statistics_at(factor: float) -> float:
            if factor not in losses:
                move_to(factor * strength)
                self.recompute_statistics()
                losses[factor] = self.loss()
            return losses[factor]

        factor = find_strength(loss_with_statistics_at, aim)
        move_to(factor * strength)
        return self.loss()  # where the search ended, so the statistics are these weights' own


def _line(classifier: Classifier, vector: Tensor) -> Callable[[float], None]:
    """Return what moves the weights to the present ones minus a strength times a vector."""
    present = parameters_to_vector(classifier.model.parameters()).detach().clone()
    weights = present.clone()
    vector_to_parameters(weights, classifier.model.parameters())  # the parameters are views of it from now on

    def move_to(strength: float) -> None:
        torch.add(present, vector, alpha=-strength, out=weights)

    return move_to


def _reaches(loss: float, target: float) -> bool:
    return loss >= target * (1.0 - _TOLERANCE)


def find_strength(loss_at: Callable[[float], float], target: float) -> float:
    """Find a strength at which the loss is near the target: by doubling, then by interpolation and bisection in turn.

    Args:
        loss_at: Loss at a strength. It is called with the returned strength last.
        target: The loss to reach.

    Returns:
        0 if the loss reaches the target without any patch.

    Raises:
        PatchFailed: The loss stays below the target, jumps over it, or is not finite.
    """
    loss = loss_at(0.0)
    if not (math.isfinite(loss) and math.isfinite(target)):
        raise PatchFailed("the loss on the forget set is not finite")
    if _reaches(loss, target):
        return 0.0
    (low, low_loss), high = (0.0, loss), 1.0
    for _ in range(_MAX_DOUBLINGS):
        high_loss = loss_at(high)
        if not high_loss < target * (1.0 - _TOLERANCE):  # also if the loss is NaN
            break
        low, low_loss, high = high, high_loss, 2.0 * high
    else:
        raise PatchFailed("no strength brings the forget set's loss to that of unseen samples")
    strength, loss = high, high_loss
    for trial in range(2 * _MAX_BISECTIONS):
        if abs(loss - target) <= _TOLERANCE * target:
            return strength
        if loss < target:
            low, low_loss = strength, loss
        else:
            high, high_loss = strength, loss
        share = 0.5
        if trial % 2 == 0 and math.isfinite(high_loss):
            share = min(max((target - low_loss) / (high_loss - low_loss), 0.05), 0.95)
        strength = low + share * (high - low)
        loss = loss_at(strength)
    raise PatchFailed("the forget set's loss jumps over that of unseen samples")


def fine_tune(
    trainer: ShardTrainer, retain: ShardSamples, unseen: ShardSamples | None, *, rate: float, epochs: int, seed: int
) -> float:
    """Train on retained samples, the rate falling to 0, until the loss on unseen samples stops improving.

    Args:
        trainer: It ends as it was after its best epoch.
        retain: Samples to train on.
        unseen: Samples of another shard. Without any, one epoch is trained.
        rate: Learning rate of the first epoch.
        epochs: Most epochs.
        seed: Seed of the order of the samples, and of the random numbers that the model draws.

    Returns:
        Sample passes.
    """
    classifier = trainer.classifier
    if not len(retain) or classifier.normalizer is None:
        return 0.0
    trainer.reset_optimizer()
    inputs = classifier.preprocess(retain.features)
    labels = torch.from_numpy(retain.labels).to(classifier.device)
    passes = 0.0
    best = math.inf
    if unseen is not None:
        best = classifier.mean_loss(unseen.features, unseen.labels)
        passes += len(unseen) * FORWARD_SHARE
    best_state = _state(classifier.model)
    for epoch in range(epochs if unseen is not None else 1):
        batches = trainer.batches(retain, seed=derive_seed(seed, epoch, "order"))
        rates = [rate * (1.0 - epoch / epochs)] * len(batches.sizes)
        trainer.train_epoch(inputs, labels, batches, rates=rates, seed=derive_seed(seed, epoch, "dropout"))
        passes += len(retain)
        if unseen is None:
            return passes
        loss = classifier.mean_loss(unseen.features, unseen.labels)
        passes += len(unseen) * FORWARD_SHARE
        if not loss < best:
            classifier.model.load_state_dict(best_state)
            return passes
        best, best_state = loss, _state(classifier.model)
    return passes


def fine_tune_as_control(
    trainer: ShardTrainer, retain: ShardSamples, *, spec: TrainingSpec, shard: int, ohs: OhsConfig
) -> float:
    """Fine-tune on the last slices as `ohs` does, and subtract nothing: the control of every measured patch.

    Returns:
        Sample passes.
    """
    tail = retain.where(retain.slices >= len(spec.epochs) - ohs.slices)
    seed = derive_seed(spec.seed, shard, "control")
    return fine_tune(trainer, tail, None, rate=spec.training.learning_rate, epochs=ohs.epochs, seed=seed)


def recompute_batch_norm(classifier: Classifier, retain: ShardSamples) -> float:
    """Recompute batch-norm statistics from the retained samples: statistics are not updates, and cannot be subtracted.

    PyTorch's `swa_utils.update_bn` would run the whole model in training mode, and so with dropout, and would average over
    batches of unequal size.

    Returns:
        Sample passes; 0 for a model without batch norm.

    Raises:
        PatchFailed: Fewer than two samples are left.
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
        for batch in _even_parts(classifier.preprocess(retain.features)):
            model(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    for module, mode in was_training:
        module.training = mode
    return len(retain) * FORWARD_SHARE


def _even_parts(inputs: Tensor, size: int = 1024) -> tuple[Tensor, ...]:
    """Cut into parts of nearly equal size: each has batch statistics, and all have the same weight in the average."""
    return torch.tensor_split(inputs, -(-len(inputs) // size))


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def require_finite(classifier: Classifier) -> None:
    """Raise PatchFailed if a weight or a statistic is infinite or NaN."""
    for name, tensor in classifier.model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise PatchFailed(f"the patch left non-finite values in {name}")
