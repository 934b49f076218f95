"""A trial of everything that the configuration chooses for training, before a run is created."""

import torch
from torch import Tensor

from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.batches import ShardSamples
from raymu.training.determinism import deterministic
from raymu.training.learning_rate import build_schedule
from raymu.training.losses import build_loss, check_loss
from raymu.training.models import build_model, check_model
from raymu.training.optimizers import build_optimizer
from raymu.training.probe import probe_training
from raymu.training.randomness import seed_everything
from raymu.training.spec import TrainingSpec


def check_training(spec: TrainingSpec) -> bool:
    """Build model, loss, optimizer and schedule, and take a step.

    Returns:
        Whether the model has batch norm.

    Raises:
        ConfigInvalid: One of them cannot be built or fails.
    """
    build_schedule(spec.training.schedule)
    loss = build_loss(spec.training.loss, classes=spec.classes)
    check_loss(loss, classes=spec.classes)
    has_batch_norm = check_model(spec.model, input_shape=spec.input_shape, classes=spec.classes, loss=loss)
    _check_optimizer(spec)
    return has_batch_norm


def check_repeatable(spec: TrainingSpec, samples: ShardSamples, *, is_accepted: bool) -> tuple[str, ...]:
    """Prove on a few samples that training gives the same bits after stopping, and once more.

    Args:
        spec: Training as it is configured.
        samples: As `few_samples` chooses them.
        is_accepted: Whether other bits are accepted.

    Returns:
        Why the bits cannot be repeated, one line each.

    Raises:
        ConfigInvalid: They cannot be repeated, and this is not accepted.
    """
    differences = probe_training(spec, samples)
    if differences and not is_accepted:
        raise ConfigInvalid(
            "training cannot be repeated bit for bit, so nothing could be forgotten exactly: "
            f"{'; '.join(differences)}; or train with --inexact, and every receipt says inconclusive"
        )
    return differences


def _check_optimizer(spec: TrainingSpec) -> None:
    """Take an optimizer step, and check that checkpoints can keep the optimizer's state."""
    with deterministic(torch.device("cpu"), threads=1):
        seed_everything(0)
        model = build_model(spec.model, input_shape=spec.input_shape, classes=spec.classes)
        optimizer = build_optimizer(model.parameters(), spec.training)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        try:
            optimizer.step()
        except Exception as error:  # whatever the user's own code raises
            raise ConfigInvalid(f"training.optimizer: {spec.training.optimizer} fails ({one_line(error)})") from error
    for state in optimizer.state_dict()["state"].values():
        for name, value in state.items():
            if value is not None and not isinstance(value, Tensor):
                raise ConfigInvalid(
                    f"training.optimizer: {name} in its state is not a tensor, and checkpoints have nothing else"
                )
