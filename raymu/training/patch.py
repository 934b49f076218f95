"""Approximate remedies: subtract contributions, fine-tune, and recompute batch-norm statistics.

The order of the parts is raymu's own, not the published rule. `calibration.py` chooses the strength of a patch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from raymu.config import OhsConfig
from raymu.core.partition import derive_seed
from raymu.core.remedies import FORWARD_SHARE
from raymu.errors import PatchFailed
from raymu.training.batch_statistics import batch_norm_layers, compute_statistics
from raymu.training.batches import ShardSamples
from raymu.training.classifier import Classifier
from raymu.training.contributions import Contribute
from raymu.training.model_state import go_back, snapshot
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchResult:
    """A patch that is done."""

    passes: float
    """Sample passes; a forward pass counts as a third."""
    strength: float
    """Multiple of the contributions that was subtracted, summed over the steps."""
    forget_loss: float
    """Mean loss of the patched model on the forget set, in nats for cross-entropy."""


def subtract(
    classifier: Classifier,
    contribute: Contribute,
    forget: ShardSamples,
    retain: ShardSamples,
    *,
    strength: float = 1.0,
    steps: int = 1,
) -> PatchResult:
    """Subtract contributions at a given strength. A strength of 1 in one step is the published rule.

    Args:
        classifier: Its weights change.
        contribute: Computes contributions, at the present weights for each step.
        forget: The forget set.
        retain: The other samples of the shard.
        strength: Multiple of the contributions to subtract.
        steps: Steps, each of an equal share of the strength.

    Raises:
        PatchFailed: The contributions cannot be computed, or the weights become infinite or NaN.
    """
    passes = 0.0
    for _ in range(steps):
        contributions = contribute(forget)
        mover_along(classifier, contributions.vector)(strength / steps)
        passes += contributions.passes + recompute_batch_norm(classifier, retain)
    loss = classifier.mean_loss(forget.features, forget.labels)
    require_finite(classifier)
    return PatchResult(passes=passes + len(forget) * FORWARD_SHARE, strength=strength, forget_loss=loss)


def mover_along(classifier: Classifier, vector: Tensor) -> Callable[[float], None]:
    """Return a function that moves the weights to the present ones minus a strength times a vector, (parameters,)."""
    present = parameters_to_vector(classifier.model.parameters()).detach().clone()
    weights = present.clone()
    vector_to_parameters(weights, classifier.model.parameters())  # the parameters are views of it from now on

    def move_to(strength: float) -> None:
        torch.add(present, vector, alpha=-strength, out=weights)

    return move_to


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
    if not len(retain) or classifier.encoder is None:
        return 0.0
    trainer.reset_optimizer()
    samples, targets = classifier.prepare(retain.features), classifier.targets(retain.labels)
    passes = 0.0
    best = math.inf
    if unseen is not None:
        best = classifier.mean_loss(unseen.features, unseen.labels)
        passes += len(unseen) * FORWARD_SHARE
    best_state = snapshot(classifier.model)
    for epoch in range(epochs if unseen is not None else 1):
        batches = trainer.batches(retain, seed=derive_seed(seed, epoch, "order"))
        rates = [rate * (1.0 - epoch / epochs)] * len(batches.sizes)
        draws = trainer.draws(retain, seed=derive_seed(seed, epoch, "draws"))
        dropout = derive_seed(seed, epoch, "dropout")
        trainer.train_epoch(samples, targets, batches, rates=rates, seed=dropout, draws=draws)
        passes += len(retain)
        if unseen is None:
            return passes
        loss = classifier.mean_loss(unseen.features, unseen.labels)
        passes += len(unseen) * FORWARD_SHARE
        if not loss < best:
            go_back(classifier.model, best_state)
            return passes
        best, best_state = loss, snapshot(classifier.model)
    return passes


def fine_tune_as_control(
    trainer: ShardTrainer, retain: ShardSamples, *, spec: TrainingSpec, shard: int, ohs: OhsConfig
) -> float:
    """Fine-tune on the last slices as *patch and fine-tune* does, and subtract nothing: the control of every measured patch.

    Returns:
        Sample passes.
    """
    tail = retain.where(retain.slices >= len(spec.epochs) - ohs.slices)
    seed = derive_seed(spec.seed, shard, "control")
    return fine_tune(trainer, tail, None, rate=spec.training.learning_rate, epochs=ohs.epochs, seed=seed)


def recompute_batch_norm(classifier: Classifier, retain: ShardSamples) -> float:
    """Recompute batch-norm statistics from the retained samples: statistics are not updates, and cannot be subtracted.

    Returns:
        Sample passes; 0 for a model without batch norm.

    Raises:
        PatchFailed: Fewer than two samples are left.
    """
    layers = batch_norm_layers(classifier.trained)
    if not layers:
        return 0.0
    if len(retain) < 2:
        raise PatchFailed("fewer than two samples are retained to take batch-norm statistics from")
    compute_statistics(classifier, layers, classifier.prepare(retain.features))
    return len(retain) * FORWARD_SHARE


def require_finite(classifier: Classifier) -> None:
    """Raise PatchFailed if a weight or a statistic is infinite or NaN. A buffer may hold constants that are, as masks do."""
    model = classifier.model
    statistics = {id(buffer) for layer in batch_norm_layers(model) for buffer in layer.buffers()}
    checked = [
        *model.named_parameters(),
        *((name, buffer) for name, buffer in model.named_buffers() if id(buffer) in statistics),
    ]
    for name, tensor in checked:
        if not bool(torch.isfinite(tensor).all()):
            raise PatchFailed(f"the patch left non-finite values in {name}")
