"""A trial of everything that the configuration chooses for training, before a run is created."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from raymu.config.training import ModelName
from raymu.core.arrays import Features
from raymu.core.input_spec import InputSpecs
from raymu.data.rows import Columns, Rows
from raymu.errors import ConfigInvalid, RaymuError
from raymu.text import one_line
from raymu.training.batches import ShardSamples
from raymu.training.determinism import deterministic
from raymu.training.encoder import Encoder
from raymu.training.inputs import specs_of
from raymu.training.lane_checks import check_lane
from raymu.training.learning_rate import build_schedule
from raymu.training.losses import build_loss, check_loss
from raymu.training.model_trial import check_model
from raymu.training.normalizer import Normalizer
from raymu.training.optimizers import build_optimizer
from raymu.training.probe import probe_training
from raymu.training.randomness import seed_everything
from raymu.training.row_checks import check_task_rows
from raymu.training.spec import TrainingSpec
from raymu.training.tasks import Task

_SAMPLES = 256
"""Samples that a model of the user's is tried on."""
_EXAMPLES = 2
"""Samples that a task is tried on."""
_NO_INTEGERS = "and data.normalize makes other numbers of them; set data.normalize: none to give them as they are"


def check_training(spec: TrainingSpec) -> bool:
    """Build model, loss, optimizer and schedule, and take a step.

    Returns:
        Whether the model has batch norm.

    Raises:
        ConfigInvalid: One of them cannot be built or fails.
    """
    build_schedule(spec.training.schedule)
    target = spec.task.target
    loss = build_loss(spec.training.loss, classes=spec.classes, target=target)
    check_loss(loss, classes=spec.classes, target=target)
    has_batch_norm = check_model(spec)
    _check_optimizer(spec)
    check_lane(spec)
    return has_batch_norm


def with_inputs(spec: TrainingSpec, features: Rows) -> TrainingSpec:
    """Return the settings of a training whose model is given integers, if the features are such and it takes no floats.

    Args:
        spec: Training as it is configured.
        features: (samples, *shape), as the training file has them; columns are left to their task.

    Raises:
        ConfigInvalid: The model takes integers, and `data.normalize` makes other numbers of them; or it fails on some of the
            samples after that.
    """
    if isinstance(features, Columns) or features.dtype.kind not in "iu" or not _may_take_integers(spec):
        return spec
    if _takes(spec):
        _try_on_samples(spec, features)
        return spec
    if not _takes(replace(spec, takes_integers=True)):
        return spec  # the trial of all that is configured says why
    if spec.normalize != "none":
        raise ConfigInvalid(f"model: takes integers, such as the numbers of tokens, {_NO_INTEGERS}")
    return replace(spec, takes_integers=True)


def example_inputs(spec: TrainingSpec, rows: Columns, *, source: str) -> InputSpecs:
    """Return the parts of a sample's inputs to the model, as the task makes them of some samples.

    Args:
        spec: Training as it is configured.
        rows: All samples.
        source: The table, for messages.

    Raises:
        DataInvalid: A sample does not fit the task.
        ConfigInvalid: The task cannot be built, or fails on these samples.
    """
    task, few = spec.build_task(), rows[:_EXAMPLES]
    try:
        task.check(rows.table, source)
        encoder = Encoder(task=task, fitted=task.fit_rows(few))
        return specs_of(encoder.prepare(few, torch.device("cpu")).all())
    except RaymuError:
        raise
    except Exception as error:  # of a task of the user's
        raise ConfigInvalid(
            f"task: {spec.task} fails on the first samples ({type(error).__name__}: {one_line(error)})"
        ) from error


def spec_for_rows(spec: TrainingSpec) -> TrainingSpec | None:
    """Return the settings by which each part of a table is checked; None if the task accepts every one.

    Whoever has none of them needs no PyTorch to place samples. Raises ConfigInvalid if the task cannot be built.
    """
    return None if type(spec.build_task()).check is Task.check else spec


def check_rows(spec: TrainingSpec, rows: Rows, *, source: str) -> None:
    """Check that the task can make inputs of samples which come later than those that a run was created from.

    Args:
        spec: The settings of the run.
        rows: The samples. Arrays were checked when they were read.
        source: The table, for messages.

    Raises:
        DataInvalid: A sample does not fit the task.
        ConfigInvalid: The task cannot be built, or fails on these samples.
    """
    if not isinstance(rows, Columns):
        return
    check_task_rows(spec.build_task(), rows, name=str(spec.task), source=source)


def _may_take_integers(spec: TrainingSpec) -> bool:
    return spec.has_factory or spec.model.name is ModelName.TRANSFORMERS


def _takes(spec: TrainingSpec) -> bool:
    try:
        check_model(spec)
    except ConfigInvalid:
        return False
    return True


def _try_on_samples(spec: TrainingSpec, features: Features) -> None:
    """Predict some samples, normalised as configured: a model that makes integers of them can fail on some values alone."""
    if spec.normalize == "none":
        return
    with deterministic(torch.device("cpu"), threads=1):
        seed_everything(0)
        model = spec.build_model().eval()
        few = features[:_SAMPLES].astype(np.float64)
        inputs = Normalizer.fit(few, spec.normalize).apply(few, torch.device("cpu"))
        try:
            with torch.no_grad():
                model(inputs)
        except Exception as error:  # whatever the model's own code raises
            raise ConfigInvalid(f"model: fails on samples ({one_line(error)}), {_NO_INTEGERS}") from error


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
        model = spec.build_model()
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
